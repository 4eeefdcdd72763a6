//! Secrets behind a descriptor: a file in memory without a name (memfd_create(2)), written once by a helper, then sealed. The
//! listener hands the descriptor on and never has the contents; sessions read at stated offsets, since a forked
//! descriptor shares its position.

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::ffi::CStr;
use std::fs::File;
use std::io;

/// A new empty file in memory. `name` is for /proc alone.
pub fn create(name: &CStr) -> io::Result<File> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?.into())
}

/// A file of `length` zero bytes, to be written into by somebody who may write without end: it never grows, what goes beyond is refused
/// (EPERM).
pub fn of_length(name: &CStr, length: u64) -> io::Result<File> {
    let file = create(name)?;
    file.set_len(length)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL))?;
    Ok(file)
}

/// Makes it unchangeable for good, for this process as for all that hold the descriptor.
pub fn seal(file: &File) -> io::Result<()> {
    let all = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(file, FcntlArg::F_ADD_SEALS(all))?;
    Ok(())
}

/// Whether nobody can change it any more.
pub fn is_sealed(file: &File) -> bool {
    let all = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(file, FcntlArg::F_GET_SEALS).is_ok_and(|seals| SealFlag::from_bits_retain(seals).contains(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_file_of_a_length_takes_no_byte_more() {
        let mut file = of_length(c"dfos-test", 100_000).unwrap();
        let written = std::iter::from_fn(|| file.write(&[b'x'; 1000]).ok()).take(200).sum::<usize>();
        assert!(written <= 100_000 && written > 90_000, "{written}");
        assert!(file.set_len(200_000).is_err() && file.write_all(&[b'x'; 100_000]).is_err());
        let mut all = Vec::new();
        File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file)))
            .unwrap()
            .read_to_end(&mut all)
            .unwrap();
        assert_eq!(all.len(), 100_000);
    }
}
