//! Aligned columns for a terminal or a pipe.

use std::fmt::Write;

/// Rows of cells.
pub type Rows = Vec<Vec<String>>;

/// One row.
pub fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Aligned cells: names on the left, figures on the right, and what stands behind the last figure as it is.
pub fn columns(rows: &Rows) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (n, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(n) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (n, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match n {
                0 => write!(line, "{cell:<width$}"),
                _ if cell.starts_with("  ") => write!(line, "{cell}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = vec![row(["", "count"]), row(["put", "1"]), row(["login", "10,000"])];
        assert_eq!(columns(&rows), "        count\nput         1\nlogin  10,000\n");
    }
}
