//! Characters that a person who looks at text does not see as they are. Logs, messages and listings spell them out.

/// Whether a terminal might obey `c`, or show the text around it as something else.
pub fn is_unsafe(c: char) -> bool {
    c.is_control() // C0, DEL and C1
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // direction
            | '\u{200b}' | '\u{2028}' | '\u{2029}' | '\u{feff}') // unseen, or a new line
}
