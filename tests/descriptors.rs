//! What may be done once in a process to the numbers of its descriptors. A process of its own, with one test: it closes what others
//! would have open.

use dfos::sys::descriptors::{as_standard_input, close_inherited};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

fn inode(fd: &OwnedFd) -> u64 {
    File::from(fd.try_clone().unwrap()).metadata().unwrap().ino()
}

#[test]
fn what_takes_descriptors_over_does_so_once() {
    assert!(close_inherited(&[]).unwrap().is_empty());
    let ours = File::open("/dev/null").unwrap();
    assert_eq!(ours.as_raw_fd(), 3, "something was left open");
    assert!(close_inherited(&[]).is_err());
    ours.metadata().expect("what was opened since is closed behind its owner's back");

    let ((first, _other), (second, _another)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let (first, second) = (OwnedFd::from(first), OwnedFd::from(second));
    let was = inode(&first);
    let first = as_standard_input(first).unwrap();
    assert!(as_standard_input(second).is_err());
    assert_eq!((first.as_raw_fd(), inode(&first)), (0, was), "standard input is another connection now");
}
