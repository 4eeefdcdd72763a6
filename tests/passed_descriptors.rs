//! What a starter passes on purpose is kept, and nothing else. A process of its own, with one test: it closes what others would have open.

use dfos::sys::descriptors::close_inherited;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, IntoRawFd};

#[test]
fn what_is_named_stays_open_closed_to_programs_and_all_else_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let opened = |name: &str| {
        std::fs::write(dir.path().join(name), name).unwrap();
        File::open(dir.path().join(name)).unwrap().into_raw_fd()
    };
    let numbers = ["a", "b", "c", "d"].map(opened);
    let kept = close_inherited(&[numbers[3], numbers[1]]).unwrap();
    let still_there = |number: i32| std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok();
    assert_eq!(numbers.map(still_there), [false, true, false, true]);
    let contents: Vec<_> = kept
        .into_iter()
        .map(|kept| {
            assert_eq!(
                fcntl(&kept, FcntlArg::F_GETFD).unwrap() & 1,
                1,
                "a program that is started would have {}",
                kept.as_raw_fd()
            );
            let mut text = String::new();
            File::from(kept).read_to_string(&mut text).unwrap();
            text
        })
        .collect();
    assert_eq!(contents, ["d", "b"]);
}
