//! Names as users type them: plain bytes, relative to a current directory that only the client knows.

use super::display::escape::escape;
use super::failure::{Exit, Failure};
use crate::proto::{Code, RemotePath};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// The path that a user means. A leading `/` is the user's own directory; `.` and `..` are resolved by the letter, and
/// `..` at the top stays there. Slashes at the end and double ones do not count.
pub fn remote_from_user(typed: &OsStr, cwd: &RemotePath) -> Result<RemotePath, Failure> {
    let bytes = typed.as_bytes();
    let start = if bytes.starts_with(b"/") { RemotePath::root() } else { cwd.clone() };
    bytes.split(|&b| b == b'/').try_fold(start, |path, name| match name {
        b"" | b"." => Ok(path),
        b".." => Ok(path.parent().unwrap_or_else(RemotePath::root)),
        name => path.join(name).map_err(|why| bad_name(bytes, &why)),
    })
}

/// The components of a local name out of a list, which must lie below the current directory: a list may come from anywhere.
pub fn below_here(name: &Path) -> Result<Vec<&OsStr>, Failure> {
    let names = name.components().filter(|name| *name != Component::CurDir).map(|component| match component {
        Component::Normal(name) => Ok(name),
        _ => Err(leads_out(name.as_os_str())),
    });
    let names: Vec<&OsStr> = names.collect::<Result<_, _>>()?;
    if names.is_empty() { Err(leads_out(name.as_os_str())) } else { Ok(names) }
}

fn leads_out(name: &OsStr) -> Failure {
    let text = format!("{}: names in a list begin in the current directory and lead down", escape(name.as_bytes()));
    Failure::new(Exit::Usage, text)
}

/// Whether what was typed can only mean a directory.
pub fn means_directory(typed: &OsStr) -> bool {
    let bytes = typed.as_bytes();
    [&b"/"[..], b"/.", b"/.."].iter().any(|end| bytes.ends_with(end)) || bytes == b"." || bytes == b".."
}

/// The failure of a name that the protocol cannot carry.
pub fn bad_name(name: &[u8], why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, format!("{}: {why}", escape(name)))
}

/// The failure of what was to be made at `path`. That something there was not found can only mean what is above it.
pub fn not_made(path: &RemotePath, failure: Failure) -> Failure {
    match path.parent().filter(|above| failure.code == Some(Code::NotFound) && !above.is_root()) {
        Some(above) => {
            let [path, above] = [path, &above].map(|path| escape(path.as_bytes()));
            Failure { text: format!("{path}: there is no directory {above}; mkdir -p makes it"), ..failure }
        }
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_a_directory_above_it_is_told_its_name() {
        let missing = || Failure::refused(Code::NotFound, "no such file or directory");
        let told = |path: &str, failure| not_made(&path.parse().unwrap(), failure).text;
        assert_eq!(told("a/b/c", missing()), "a/b/c: there is no directory a/b; mkdir -p makes it");
        assert_eq!(told("c", missing()), missing().text);
        assert_eq!(told("a/c", Failure::refused(Code::Denied, "no")), "no");
        assert_eq!(not_made(&"a/c".parse().unwrap(), missing()).code, Some(Code::NotFound));
    }

    #[test]
    fn names_of_a_list_lead_nowhere_else() {
        let below = |name: &'static str| below_here(Path::new(name)).map(|names| names.len());
        assert_eq!((below("a"), below("a/b//c/"), below("./a/./b")), (Ok(1), Ok(3), Ok(2)));
        for name in ["/etc/passwd", "../a", "a/../../b", "a/..", "", "."] {
            assert_eq!(below(name).unwrap_err().exit, Exit::Usage, "{name}");
        }
    }

    #[test]
    fn typed_names_resolve_against_the_current_directory_and_never_above_the_root() {
        let cwd: RemotePath = "a/b".parse().unwrap();
        for (typed, meant) in [
            ("c", "a/b/c"),
            ("./c/", "a/b/c"),
            ("../c", "a/c"),
            ("../../../../c", "c"),
            ("/c", "c"),
            ("//c//d/.", "c/d"),
            ("", "a/b"),
            (".", "a/b"),
            ("/", "."),
            ("..", "a"),
            ("50% off", "a/b/50%25%20off"),
        ] {
            assert_eq!(remote_from_user(OsStr::new(typed), &cwd).unwrap(), meant.parse().unwrap(), "{typed}");
        }
        assert!(remote_from_user(OsStr::new(".dfos/x"), &cwd).is_err());
        assert_eq!(remote_from_user(OsStr::from_bytes(b"\xff"), &cwd).unwrap().as_bytes(), b"a/b/\xff");
    }
}
