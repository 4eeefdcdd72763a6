//! Patterns for names: `*` stands for any letters, `?` for one; neither for a `/`, nor for the dot that hides a name. `**` between
//! slashes stands for any directories, none too, and `{a,b}` for each of its parts.
//! A word without `*` and `?` is no pattern and taken as it is; in a pattern a backslash makes the next character a letter.
//! The client expands patterns from a listing; the server knows only names.

/// The component that stands for any number of directories.
const DEEP: &[u8] = b"**";

/// Patterns that braces in one may stand for: `{a,b}` ten times over would be a thousand.
const ALTERNATIVES: usize = 256;

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

/// All names that `pattern` stands for, sorted, each once. `list` tells the names in a directory that is written as the pattern is
/// (`""` for where one stands). What follows a star must be there; a pattern may match nothing.
pub fn expand<E>(pattern: &[u8], mut list: impl FnMut(&[u8]) -> Result<Vec<Name>, E>) -> Result<Vec<Vec<u8>>, E> {
    let mut found = Vec::new();
    for pattern in alternatives(pattern) {
        found.extend(expand_one(&pattern, &mut list)?);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The same for a pattern without alternatives.
fn expand_one<E>(pattern: &[u8], list: &mut impl FnMut(&[u8]) -> Result<Vec<Name>, E>) -> Result<Vec<Vec<u8>>, E> {
    let pieces: Vec<&[u8]> = pattern.split(|&b| b == b'/').collect();
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    let mut wild = false;
    for (at, piece) in pieces.iter().enumerate() {
        let last = at + 1 == pieces.len();
        wild |= is_wild(piece);
        if *piece == DEEP && !last {
            // Each already ends with its slash.
            found = all_below(found, list)?;
            continue;
        }
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
    Ok(found)
}

/// The directories themselves and all below them, each written with a slash at its end; hidden ones are left out.
fn all_below<E>(
    mut found: Vec<Vec<u8>>,
    list: &mut impl FnMut(&[u8]) -> Result<Vec<Name>, E>,
) -> Result<Vec<Vec<u8>>, E> {
    let mut at = 0;
    while let Some(directory) = found.get(at).cloned() {
        let below = list(&directory)?.into_iter().filter(|(name, is_dir)| *is_dir && !name.starts_with(b"."));
        found.extend(below.map(|(name, _)| [directory.as_slice(), &name, b"/"].concat()));
        at += 1;
    }
    Ok(found)
}

/// The patterns that a pattern with `{a,b}` stands for. A brace without a comma, without its end, or after a backslash is a letter;
/// so are all beyond a few hundred.
pub fn alternatives(pattern: &[u8]) -> Vec<Vec<u8>> {
    let (mut ready, mut open) = (Vec::new(), vec![(pattern.to_vec(), 0)]);
    while let Some((pattern, from)) = open.pop() {
        match first_braces(&pattern, from) {
            Some((start, parts, after)) if ready.len() + open.len() + parts.len() <= ALTERNATIVES => {
                let head = pattern.get(..start).unwrap_or_default();
                let tail = pattern.get(after..).unwrap_or_default();
                // Last in, first out: the parts come in the order in which they are written.
                open.extend(parts.into_iter().rev().map(|part| ([head, &part, tail].concat(), start + part.len())));
            }
            _ => ready.push(pattern),
        }
    }
    ready
}

/// The first braces at or after `from`: where they begin, their parts, and where they end.
fn first_braces(pattern: &[u8], from: usize) -> Option<(usize, Vec<Vec<u8>>, usize)> {
    let (mut start, mut parts, mut at) = (None, vec![Vec::new()], from);
    while let Some(&byte) = pattern.get(at) {
        at += 1;
        let several = parts.len() > 1;
        let part = parts.last_mut()?;
        match byte {
            b'\\' => {
                part.push(byte);
                part.extend(pattern.get(at));
                at += 1;
            }
            b'{' => (start, parts) = (Some(at - 1), vec![Vec::new()]),
            b',' if start.is_some() => parts.push(Vec::new()),
            b'}' if several => return start.map(|start| (start, parts, at)),
            b'}' => start = None,
            _ => part.push(byte),
        }
        if start.is_none() {
            parts = vec![Vec::new()];
        }
    }
    None
}

/// A pattern for whole paths, component by component.
#[derive(Debug, Clone)]
pub struct Way {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
enum Piece {
    /// Any number of components.
    Deep,
    Name(Vec<Token>),
}

impl Way {
    /// The way that `pattern` describes. Here a star stands for hidden names as well.
    pub fn new(pattern: &[u8]) -> Self {
        let piece = |piece: &[u8]| if piece == DEEP { Piece::Deep } else { Piece::Name(tokens(piece)) };
        Way { pieces: pattern.split(|&b| b == b'/').filter(|piece| !piece.is_empty()).map(piece).collect() }
    }

    /// Whether it leads to `path`. As with a star among letters, only the last `**` is ever tried again.
    pub fn leads_to(&self, path: &[&[u8]]) -> bool {
        let (mut p, mut n) = (0, 0);
        let mut deep: Option<(usize, usize)> = None;
        loop {
            match (self.pieces.get(p), path.get(n)) {
                (None, None) => return true,
                (Some(Piece::Deep), _) => {
                    deep = Some((p + 1, n));
                    p += 1;
                    continue;
                }
                (Some(Piece::Name(pattern)), Some(name)) if fits(pattern, name) => {
                    (p, n) = (p + 1, n + 1);
                    continue;
                }
                _ => {}
            }
            match deep {
                Some((after, eaten)) if eaten < path.len() => {
                    deep = Some((after, eaten + 1));
                    (p, n) = (after, eaten + 1);
                }
                _ => return false,
            }
        }
    }
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

/// Whether one component matches; a hidden one only if the pattern begins with its dot.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let pattern = tokens(pattern);
    let hidden = name.starts_with(b".") && pattern.first() != Some(&Token::Byte(b'.'));
    !hidden && fits(&pattern, name)
}

/// Whether one component matches. Only the last star is ever tried again, so the time is bounded by the product of the lengths.
fn fits(pattern: &[Token], name: &[u8]) -> bool {
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
    fn braces_stand_for_each_of_their_parts() {
        let alternatives = |pattern: &str| {
            let all = alternatives(pattern.as_bytes()).into_iter();
            all.map(|one| String::from_utf8(one).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(alternatives("*.{c,h}"), ["*.c", "*.h"]);
        assert_eq!(alternatives("{a,b}{1,2}"), ["a1", "a2", "b1", "b2"]);
        assert_eq!(alternatives("x{,y}"), ["x", "xy"]);
        for letters in ["{a}", "{a", "a}", "a,b", r"\{a,b}", "}{"] {
            assert_eq!(alternatives(letters), [letters], "these braces are letters");
        }
        assert_eq!(alternatives("{a}{b,c}"), ["{a}b", "{a}c"]);
        let many = alternatives(&"{a,b}".repeat(40));
        assert!(many.len() <= ALTERNATIVES && many.iter().all(|one| one.len() >= 40), "{}", many.len());
    }

    #[test]
    fn two_stars_stand_for_any_directories() {
        let list = |directory: &[u8]| -> Result<Vec<Name>, String> {
            let names: &[(&str, bool)] = match directory {
                b"" => &[("a", true), (".h", true), ("x.c", false)],
                b"a/" => &[("b", true), ("x.c", false), ("y.h", false)],
                b"a/b/" => &[("z.c", false), ("x.c", false)],
                other => return Err(String::from_utf8_lossy(other).into_owned()),
            };
            Ok(names.iter().map(|(name, dir)| (name.as_bytes().to_vec(), *dir)).collect())
        };
        let expand = |pattern: &str| {
            let found = expand(pattern.as_bytes(), list).unwrap();
            found.into_iter().map(|name| String::from_utf8(name).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(expand("**/x.c"), ["a/b/x.c", "a/x.c", "x.c"]);
        assert_eq!(expand("a/**/?.{c,h}"), ["a/b/x.c", "a/b/z.c", "a/x.c", "a/y.h"]);
        assert_eq!(expand("**/**/z*"), ["a/b/z.c"], "each once");
        let leads = |pattern: &str, path: &str| {
            Way::new(pattern.as_bytes()).leads_to(&path.split('/').map(str::as_bytes).collect::<Vec<_>>())
        };
        for (pattern, path) in [("**/c", "c"), ("**/c", "a/b/c"), ("a/**", "a/b/c"), ("a/**/c", "a/c"), ("*/b", ".a/b")]
        {
            assert!(leads(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [("a/*", "a/b/c"), ("**/c", "a/b"), ("a/**/c", "b/c"), ("a", "a/b"), ("**/a/b", "a/c/b")]
        {
            assert!(!leads(pattern, path), "{pattern} {path}");
        }
        let start = Instant::now();
        assert!(!leads(&format!("{}b", "**/a/".repeat(100)), &"a/".repeat(2000)));
        assert!(start.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let start = Instant::now();
        assert!(!matches(format!("{}b", "*a".repeat(100)).as_bytes(), "a".repeat(255).as_bytes()));
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}
