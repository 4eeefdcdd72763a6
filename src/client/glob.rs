//! Patterns for names: `*` stands for any letters, `?` for one; neither for a `/`, nor for the dot that hides a name.
//! A word without `*` and `?` is no pattern and taken as it is; in a pattern a backslash makes the next character a letter.
//! The client expands patterns from a listing; the server knows only names.

/// One piece of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Byte(u8),
}

/// Whether `word` is written as a pattern, though all its stars may be letters.
pub fn is_pattern(word: &[u8]) -> bool {
    word.iter().any(|b| matches!(b, b'*' | b'?'))
}

/// Whether `word` can stand for several names.
pub fn is_wild(word: &[u8]) -> bool {
    is_pattern(word) && tokens(word).iter().any(|token| !matches!(token, Token::Byte(_)))
}

/// The one name that `word` means where no pattern is meant: the letters of a pattern in which every star is a letter,
/// any other word as it is.
pub fn literal(word: &[u8]) -> Vec<u8> {
    if !is_pattern(word) || is_wild(word) {
        return word.to_vec();
    }
    letters(word)
}

/// The letters of a piece of a pattern that has no stars.
fn letters(piece: &[u8]) -> Vec<u8> {
    tokens(piece).into_iter().filter_map(|token| if let Token::Byte(b) = token { Some(b) } else { None }).collect()
}

/// A name in a directory, and whether it is a directory itself.
pub type Name = (Vec<u8>, bool);

/// All names that `pattern` stands for, sorted. `list` tells the names in a directory that is written as the pattern is
/// (`""` for where one stands). What follows a star must be there; a pattern may match nothing.
pub fn expand<E>(pattern: &[u8], mut list: impl FnMut(&[u8]) -> Result<Vec<Name>, E>) -> Result<Vec<Vec<u8>>, E> {
    let pieces: Vec<&[u8]> = pattern.split(|&b| b == b'/').collect();
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    let mut wild = false;
    for (at, piece) in pieces.iter().enumerate() {
        let last = at + 1 == pieces.len();
        wild |= is_wild(piece);
        if wild && !piece.is_empty() {
            let mut next = Vec::new();
            for directory in &found {
                let names =
                    list(directory)?.into_iter().filter(|(name, is_dir)| (last || *is_dir) && matches(piece, name));
                next.extend(names.map(|(name, _)| [directory.as_slice(), &name].concat()));
            }
            found = next;
        } else {
            found.iter_mut().for_each(|name| name.extend_from_slice(&letters(piece)));
        }
        if !last {
            found.iter_mut().for_each(|name| name.push(b'/'));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn tokens(pattern: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(pattern.len());
    let mut bytes = pattern.iter();
    while let Some(&byte) = bytes.next() {
        tokens.push(match byte {
            b'*' => Token::Any,
            b'?' => Token::One,
            b'\\' => Token::Byte(*bytes.next().unwrap_or(&b'\\')),
            _ => Token::Byte(byte),
        });
    }
    tokens
}

/// Whether one component matches. Only the last star is ever tried again, so the time is bounded by the product of the lengths.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let pattern = tokens(pattern);
    if name.starts_with(b".") && pattern.first() != Some(&Token::Byte(b'.')) {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None; // where to go on in the pattern, and how far the star has eaten
    loop {
        match (pattern.get(p), name.get(n)) {
            (None, None) => return true,
            (Some(Token::Any), _) => {
                star = Some((p + 1, n));
                p += 1;
                continue;
            }
            (Some(Token::One), Some(_)) => {
                (p, n) = (p + 1, after_letter(name, n));
                continue;
            }
            (Some(Token::Byte(want)), Some(have)) if want == have => {
                (p, n) = (p + 1, n + 1);
                continue;
            }
            _ => {}
        }
        match star {
            Some((after, eaten)) if eaten < name.len() => {
                let eaten = after_letter(name, eaten);
                star = Some((after, eaten));
                (p, n) = (after, eaten);
            }
            _ => return false,
        }
    }
}

/// Where the letter at `at` ends: a letter of several bytes in UTF-8 is one.
fn after_letter(name: &[u8], at: usize) -> usize {
    let rest = name.get(at + 1..).unwrap_or_default();
    let wide = name.get(at).is_some_and(|b| *b >= 0xc0);
    at + 1 + if wide { rest.iter().take(3).take_while(|b| (0x80..0xc0).contains(*b)).count() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name) in [
            ("*", "a"),
            ("*.txt", "a.txt"),
            ("a*b*c", "aXbYbc"),
            ("?", "é"),
            ("??", "éa"),
            (r"\*", "*"),
            (r"a\\*", r"a\b"),
            (".*", ".hidden"),
            ("*a", "aa"),
            ("caf?", "café"),
        ] {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in
            [("*", ".hidden"), ("?", "ab"), ("*.txt", "a.txt.gz"), (r"\*", "a"), ("a?", "a"), ("", "a")]
        {
            assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        assert!(matches(b"*\xff?", b"a\xff\xfe"), "bytes that are not UTF-8 are letters too");
    }

    #[test]
    fn a_word_without_stars_is_taken_as_it_is() {
        assert_eq!(literal(br"a\b"), br"a\b");
        assert_eq!(literal(br"a\*b"), b"a*b");
        assert_eq!(literal(b"a*b"), b"a*b");
        assert!(is_wild(b"a*b") && !is_wild(br"a\*b") && !is_wild(br"a\b"));
    }

    #[test]
    fn patterns_expand_component_by_component() {
        let list = |directory: &[u8]| -> Result<Vec<Name>, String> {
            let names: &[(&str, bool)] = match directory {
                b"" => &[("b", true), ("a", true), ("f", false), (".h", true), ("s*", true)],
                b"a/" => &[("x", false), ("y.txt", false)],
                b"b/" => &[("x", false)],
                b"/" => &[("root", true)],
                b"s*/" => &[("z.txt", false)],
                other => return Err(String::from_utf8_lossy(other).into_owned()),
            };
            Ok(names.iter().map(|(name, dir)| (name.as_bytes().to_vec(), *dir)).collect())
        };
        let expand = |pattern: &str| {
            let found = expand(pattern.as_bytes(), list).unwrap();
            found.into_iter().map(|name| String::from_utf8(name).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(expand("*"), ["a", "b", "f", "s*"]);
        assert_eq!(expand("*/x"), ["a/x", "b/x"], "what follows a star must be there");
        assert_eq!(expand("*/*.txt"), ["a/y.txt", "s*/z.txt"]);
        assert_eq!(expand(r"s\*/*"), ["s*/z.txt"]);
        assert_eq!(expand("/r*"), ["/root"]);
        assert_eq!(expand("*.none"), [""; 0]);
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let start = Instant::now();
        assert!(!matches(format!("{}b", "*a".repeat(100)).as_bytes(), "a".repeat(255).as_bytes()));
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}
