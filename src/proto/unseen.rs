//! Characters that a person who looks at text does not see as they are. Logs, messages and listings spell them out.

use std::fmt::Write;

/// Whether a terminal might obey `c`, or show the text around it as something else.
pub fn is_unsafe(c: char) -> bool {
    c.is_control() // C0, DEL and C1
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // direction
            | '\u{200b}' | '\u{2028}' | '\u{2029}' | '\u{feff}') // unseen, or a new line
}

/// The text with such characters spelled out: `\u{1b}`.
pub fn spelled_out(text: &str) -> String {
    replaced(text, |out, code| write!(out, "\\u{{{code:x}}}"))
}

/// A document of JSON with such characters spelled out as JSON does, in which they occur in strings alone: all are of the basic plane.
pub fn json_spelled_out(text: &str) -> String {
    replaced(text, |out, code| write!(out, "\\u{code:04x}"))
}

fn replaced(text: &str, spell: impl Fn(&mut String, u32) -> std::fmt::Result) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            let _ = spell(&mut out, c as u32); // a String takes everything
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_might_obey_is_spelled_out_and_json_stays_what_it_was() {
        let bad = "a\u{1b}[2J\u{7f}\u{9b}\u{202e}\n\u{feff}ü";
        assert_eq!(spelled_out(bad), "a\\u{1b}[2J\\u{7f}\\u{9b}\\u{202e}\\u{a}\\u{feff}ü");
        let json = json_spelled_out(&serde_json::to_string(bad).unwrap());
        assert!(!json.chars().any(is_unsafe), "{json:?}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), bad);
    }
}
