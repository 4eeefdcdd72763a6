//! Markdown into the language of man pages (man(7), tbl(1)), as far as our own pages use it: headings, paragraphs, lists, terms with
//! their explanations, tables, code.

/// A page that is being written.
pub struct Roff {
    out: String,
    /// Whether the last line ended a paragraph.
    fresh: bool,
}

impl Roff {
    /// The head of a page.
    pub fn begin(name: &str, section: u8, version: &str, about: &str) -> Self {
        // The first line asks for tbl, which man runs where it is asked for.
        let out = format!(
            "'\\\" t\n.TH {} {section} \"\" \"{version}\" \"DFOS\"\n.nh\n.ad l\n.SH NAME\n{} \\- {}\n",
            quoted(&name.to_uppercase()),
            plain(name),
            plain(about)
        );
        Roff { out, fresh: true }
    }

    /// The finished page.
    pub fn end(self) -> String {
        self.out
    }

    /// Adds a text.
    pub fn markdown(&mut self, text: &str) {
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(fence) = line.strip_prefix("```") {
                let _ = fence; // the language
                let code: Vec<_> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
                self.code(&code);
            } else if line.starts_with("    ") && self.fresh {
                let mut code = vec![&line[4..]];
                while let Some(next) = lines.next_if(|next| next.starts_with("    ")) {
                    code.push(&next[4..]);
                }
                self.code(&code);
            } else if line.starts_with("# ") {
                self.heading("SH", "DESCRIPTION"); // the title of a document: the page has its name already
            } else if let Some(title) = line.strip_prefix("## ") {
                self.heading("SH", &title.to_uppercase());
            } else if let Some(title) = line.strip_prefix("### ") {
                self.heading("SS", title);
            } else if line.starts_with('|') {
                let mut rows = vec![line];
                while let Some(next) = lines.next_if(|next| next.starts_with('|')) {
                    rows.push(next);
                }
                self.table(&rows);
            } else if let Some(item) = line.strip_prefix("- ") {
                let mut text = item.to_owned();
                while let Some(next) = lines.next_if(|next| next.starts_with("  ")) {
                    text = format!("{text} {}", next.trim());
                }
                self.out.push_str(&format!(".IP \\(bu 2\n{}\n", inline(&text)));
                self.fresh = false;
            } else if let Some(term) = line.strip_prefix(": ") {
                self.out.push_str(&format!(".TP\n{}\n", inline(term)));
                self.fresh = false;
            } else if line.trim().is_empty() {
                self.fresh = true;
            } else {
                if self.fresh {
                    self.paragraph();
                }
                self.out.push_str(&inline(line.trim()));
                self.out.push('\n');
                self.fresh = false;
            }
        }
    }

    fn heading(&mut self, macro_name: &str, title: &str) {
        self.out.push_str(&format!(".{macro_name} {}\n", quoted(&title.replace('`', ""))));
        self.fresh = true;
    }

    /// Begins a paragraph; a heading has begun one already.
    fn paragraph(&mut self) {
        let last = self.out.lines().next_back().unwrap_or_default();
        if !last.starts_with(".SH") && !last.starts_with(".SS") {
            self.out.push_str(".PP\n");
        }
    }

    fn code(&mut self, lines: &[&str]) {
        self.paragraph();
        self.out.push_str(".RS 4\n.nf\n");
        for line in lines {
            self.out.push_str(&plain(line));
            self.out.push('\n');
        }
        self.out.push_str(".fi\n.RE\n");
        self.fresh = true;
    }

    /// A table: each cell a text block, so that long ones are wrapped.
    fn table(&mut self, rows: &[&str]) {
        let cells = |row: &str| -> Vec<String> {
            let inner = row.trim().trim_start_matches('|').trim_end_matches('|').replace("\\|", "\u{1}");
            inner.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
        };
        let rows: Vec<_> = rows.iter().map(|row| cells(row)).collect();
        let is_rule =
            |row: &Vec<String>| row.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| "-: ".contains(c)));
        let columns = rows.first().map_or(0, Vec::len);
        let width =
            |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        // Narrow columns take what they need, wide ones share the rest.
        let format: Vec<_> = (0..columns).map(|at| if width(at) > 24 { "lx" } else { "l" }).collect();
        self.paragraph();
        self.out.push_str(&format!(".TS\n{}.\n", format.join(" ")));
        for row in rows.iter().filter(|row| !is_rule(row)) {
            let blocks: Vec<_> = row.iter().map(|cell| format!("T{{\n{}\nT}}", inline(cell))).collect();
            self.out.push_str(&blocks.join("\t"));
            self.out.push('\n');
        }
        self.out.push_str(".TE\n");
        self.fresh = true;
    }
}

/// A line of prose: `code` and **strong** are bold, [links](to) are their text.
fn inline(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[']) {
        let (before, from) = rest.split_at(at);
        out.push_str(&plain_part(before));
        let taken = if let Some(code) = from.strip_prefix('`').and_then(|code| code.split_once('`')) {
            out.push_str(&format!("\\fB{}\\fP", plain_part(code.0)));
            Some(code.1)
        } else if let Some(strong) = from.strip_prefix("**").and_then(|strong| strong.split_once("**")) {
            out.push_str(&format!("\\fB{}\\fP", plain_part(&strong.0.replace('`', ""))));
            Some(strong.1)
        } else if let Some(slanted) = emphasis(from) {
            out.push_str(&format!("\\fI{}\\fP", plain_part(slanted.0)));
            Some(slanted.1)
        } else {
            from.strip_prefix('[').and_then(|link| link.split_once("](")).and_then(|(words, to)| {
                let (_, after) = to.split_once(')')?;
                out.push_str(&inline(words));
                Some(after)
            })
        };
        rest = taken.unwrap_or_else(|| {
            out.push_str(&plain_part(&from[..1]));
            &from[1..]
        });
    }
    out.push_str(&plain_part(rest));
    guard(out)
}

/// What stands between two stars, and what follows; a star before a blank is a star.
fn emphasis(from: &str) -> Option<(&str, &str)> {
    let (slanted, rest) = from.strip_prefix('*')?.split_once('*')?;
    (!slanted.is_empty() && !slanted.starts_with(' ')).then_some((slanted, rest))
}

/// A line as it is.
fn plain(text: &str) -> String {
    guard(plain_part(text))
}

/// Nothing in it is taken for the language.
fn plain_part(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '`' => out.push_str("\\(ga"),
            '"' => out.push_str("\\(dq"),
            _ => out.push(c),
        }
    }
    out
}

/// A line that begins with a dot would be a request.
fn guard(line: String) -> String {
    if line.starts_with('.') { format!("\\&{line}") } else { line }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", plain_part(text).replace("\\(dq", "'"))
}
