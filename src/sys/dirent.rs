//! getdents64(2): a directory in pieces of constant memory, with a place to come back to.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Bytes of entries fetched at once.
const BUFFER: usize = 32 * 1024;
/// Where the name begins in `struct linux_dirent64`: after ino, off, reclen and type.
const NAME_AT: usize = 19;

/// A directory being read.
pub struct DirStream {
    fd: OwnedFd,
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
    place: i64,
}

/// What the kernel says of an entry's type without a look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// A directory.
    Dir,
    /// Anything else.
    NotDir,
    /// The file system does not tell.
    Unknown,
}

impl DirStream {
    /// Reads the directory that `fd` has open (not with O_PATH), from its beginning.
    pub fn new(fd: OwnedFd) -> Self {
        DirStream { fd, buffer: vec![0; BUFFER].into(), at: 0, end: 0, place: 0 }
    }

    /// Continues at a place that [`DirStream::place`] told of the same directory.
    pub fn seek(&mut self, place: i64) -> io::Result<()> {
        use nix::unistd::{Whence, lseek64};
        lseek64(&self.fd, place, Whence::SeekSet)?;
        (self.at, self.end, self.place) = (0, 0, place);
        Ok(())
    }

    /// Where the next entry stands.
    pub fn place(&self) -> i64 {
        self.place
    }

    /// The next name, `.` and `..` left out, copied into `name`. `None` at the end.
    pub fn next(&mut self, name: &mut Vec<u8>) -> io::Result<Option<Hint>> {
        loop {
            if self.at >= self.end {
                self.fill()?;
                if self.end == 0 {
                    return Ok(None);
                }
            }
            let record = &self.buffer[self.at..self.end];
            let (Some(head), Some(place)) = (record.get(..NAME_AT), record.get(8..16)) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            let length = usize::from(u16::from_ne_bytes([head[16], head[17]]));
            let hint = match head[18] {
                libc::DT_DIR => Hint::Dir,
                libc::DT_UNKNOWN => Hint::Unknown,
                _ => Hint::NotDir,
            };
            let bytes = record.get(NAME_AT..length).ok_or(io::ErrorKind::InvalidData)?;
            let bytes = bytes.split(|&b| b == 0).next().unwrap_or_default();
            self.place = i64::from_ne_bytes(place.try_into().unwrap_or_default());
            self.at += length;
            if bytes != b"." && bytes != b".." {
                name.clear();
                name.extend_from_slice(bytes);
                return Ok(Some(hint));
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        // SAFETY: the kernel writes at most `buffer.len()` bytes of whole records into `buffer`.
        let n = unsafe {
            libc::syscall(libc::SYS_getdents64, self.fd.as_raw_fd(), self.buffer.as_mut_ptr(), self.buffer.len())
        };
        self.at = 0;
        self.end = 0;
        self.end = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        Ok(())
    }
}

impl AsFd for DirStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn open(path: &std::path::Path) -> DirStream {
        DirStream::new(std::fs::File::open(path).unwrap().into())
    }

    #[test]
    fn every_entry_comes_once_and_a_place_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..3000 {
            std::fs::write(dir.path().join(format!("file-{n}")), b"").unwrap();
        }
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let (mut stream, mut name, mut seen) = (open(dir.path()), Vec::new(), BTreeSet::new());
        for _ in 0..1500 {
            stream.next(&mut name).unwrap().unwrap();
            assert!(seen.insert(name.clone()));
        }
        let place = stream.place();
        drop(stream);
        let mut stream = open(dir.path());
        stream.seek(place).unwrap();
        while let Some(hint) = stream.next(&mut name).unwrap() {
            assert!(seen.insert(name.clone()), "{name:?} came twice");
            assert!(hint == Hint::Unknown || (hint == Hint::Dir) == (name == b"sub"));
        }
        assert_eq!(seen.len(), 3001);
    }
}
