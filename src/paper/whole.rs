//! A file for a result: opened before the work begins, under its name only when it is whole.

use super::escape::escape;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Why there is no result in a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {why}")]
pub struct CannotWrite {
    path: String,
    why: String,
}

/// A file that does not have its name yet.
pub struct Paper {
    file: File,
    unfinished: PathBuf,
    path: PathBuf,
}

impl Paper {
    /// Opens a file beside `path`. Whatever keeps it from being written there is known now.
    pub fn create(path: &Path) -> Result<Self, CannotWrite> {
        let name = path.file_name().filter(|_| !path.is_dir());
        let Some(name) = name else { return Err(cannot_write(path, &io::ErrorKind::IsADirectory.into())) };
        let mut salt = [0; 6];
        getrandom::fill(&mut salt).map_err(|why| cannot_write(path, &io::Error::other(why.to_string())))?;
        let mut unfinished = std::ffi::OsString::from(".");
        unfinished.push(name);
        unfinished.push(format!(".{}", hex::encode(salt)));
        let unfinished = path.with_file_name(unfinished);
        let file = OpenOptions::new().write(true).create_new(true).open(&unfinished);
        let file = file.map_err(|why| cannot_write(path, &why))?;
        Ok(Paper { file, unfinished, path: path.to_owned() })
    }

    /// Its name, for people.
    pub fn shown(&self) -> String {
        escape(self.path.as_os_str().as_bytes())
    }

    /// Writes it and gives it its name.
    pub fn publish(mut self, content: &[u8]) -> Result<(), CannotWrite> {
        let written = self.file.write_all(content).and_then(|()| std::fs::rename(&self.unfinished, &self.path));
        written.map_err(|why| cannot_write(&self.path, &why))
    }
}

impl Drop for Paper {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.unfinished); // gone already where it has its name
    }
}

fn cannot_write(path: &Path, why: &io::Error) -> CannotWrite {
    CannotWrite { path: escape(path.as_os_str().as_bytes()), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_result_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result");
        std::fs::write(&path, "old").unwrap();
        let paper = Paper::create(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        drop(paper);
        assert_eq!(names(dir.path()), ["result"], "one that is not wanted any more leaves nothing");
        Paper::create(&path).unwrap().publish(b"new").unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), names(dir.path()).len()), (b"new".to_vec(), 1));
    }

    #[test]
    fn what_cannot_be_written_is_known_beforehand() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().join("missing/result"), dir.path().to_owned(), "/".into(), "".into()] {
            assert!(Paper::create(&path).is_err(), "{}", path.display());
        }
    }
}
