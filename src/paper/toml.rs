//! What is wrong with a text of TOML, told to whoever has written it by hand.

use toml::de::Error;

/// The line, from 1, in which the byte at `at` stands.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count()
}

/// The line, from 1, and a sentence that says what to do where the parser's own speaks of its grammar.
pub fn trouble(text: &str, why: &Error) -> (usize, String) {
    let span = why.span().unwrap_or_default();
    let line = line_of(text, span.start);
    let said = why.message().replace('\n', " ");
    // A list goes on after a line's end: then the parser sees only in the next line that something is missing.
    let open = [line.saturating_sub(1), line].into_iter().find(|&line| lacks_a_quote(text, line));
    let sentence = match said.as_str() {
        "duplicate key" => {
            let name = text.get(span).unwrap_or_default().escape_debug();
            return (line, format!("'{name}' stands there a second time"));
        }
        _ if open.is_some() => "a quote is missing: text begins and ends with one".to_owned(),
        said if said.starts_with("string values must be quoted") => {
            "write text in quotes, and true, false and numbers without".to_owned()
        }
        _ => said,
    };
    (open.unwrap_or(line), sentence)
}

/// Whether a line, from 1, opens a text and does not close it. (One of several lines has three quotes.)
fn lacks_a_quote(text: &str, line: usize) -> bool {
    let Some(line) = line.checked_sub(1).and_then(|at| text.lines().nth(at)) else { return false };
    let mut open = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (open, character) {
            (None, '#') => return false,
            (None, '"' | '\'') => open = Some(character),
            (Some('"'), '\\') => drop(characters.next()),
            (Some(quote), _) if quote == character => open = None,
            _ => {}
        }
    }
    open.is_some() && !line.contains("\"\"\"") && !line.contains("'''")
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::de::DeTable;

    #[test]
    fn what_people_get_wrong_is_said_in_words_of_theirs() {
        for (text, line, sentence) in [
            ("a = 1\nlisten = [\"tls://[::]:9000]\nb = 2\n", 2, "a quote is missing"),
            ("dir = \"/srv\n", 1, "a quote is missing"),
            ("dir = /srv\"\n", 1, "a quote is missing"),
            ("\nallow = yes # isn't it\n", 2, "write text in quotes"),
            ("dir = /srv/dfos\n", 1, "write text in quotes"),
            ("a = 1\nb = 2\na = 3\n", 3, "'a' stands there a second time"),
        ] {
            let why = DeTable::parse(text).unwrap_err();
            let told = trouble(text, &why);
            assert!(told.0 == line && told.1.starts_with(sentence), "{text}: {told:?}");
        }
    }
}
