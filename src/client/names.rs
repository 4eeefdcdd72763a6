//! Names as users type them: plain bytes, relative to a current directory that only the client knows.

use super::display::escape::escape;
use super::failure::{Exit, Failure};
use crate::proto::RemotePath;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

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

/// Whether what was typed can only mean a directory.
pub fn means_directory(typed: &OsStr) -> bool {
    let bytes = typed.as_bytes();
    [&b"/"[..], b"/.", b"/.."].iter().any(|end| bytes.ends_with(end)) || bytes == b"." || bytes == b".."
}

/// The failure of a name that the protocol cannot carry.
pub fn bad_name(name: &[u8], why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, format!("{}: {why}", escape(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
