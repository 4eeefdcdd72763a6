//! The account of a user after kills: it never tells less than what lies there, and counted anew it tells exactly that.

use super::super::common::raw::number;
use super::house::House;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes, and names.
type Figures = (u64, u64);

/// What is wrong with what QUOTA tells a user.
pub fn check(house: &House, user: &str) -> Vec<String> {
    let dir = house.server().at(user);
    let mut raw = house.server().login(user);
    let mut told = || {
        let line = raw.demand("QUOTA", "OK used=");
        (number(&line, "used"), number(&line, "files"))
    };
    let kept = told();
    let lies = lying(&dir);
    let mut wrong = Vec::new();
    if kept.0 < lies.0 || kept.1 < lies.1 {
        wrong.push(format!("{user} has {lies:?} (bytes, names), and QUOTA tells less: {kept:?}"));
    }
    // As after a crash of the machine: a figure that cannot be read is counted anew.
    fs::File::options().write(true).open(dir.join(".dfos/usage")).unwrap().set_len(0).unwrap();
    let counted = told();
    if counted != lies {
        wrong.push(format!("{user} has {lies:?} (bytes, names), and QUOTA counts {counted:?}"));
    }
    wrong
}

/// What lies in a user's directory: the trash without its notes and unfinished uploads included.
fn lying(dir: &Path) -> Figures {
    let mut total = (0, 0);
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        let is_trash = next.ends_with(".dfos/trash");
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if next == dir && name == ".dfos" {
                left.extend([entry.path().join("trash"), entry.path().join("uploads")]);
                continue;
            }
            if is_trash && name.as_bytes().ends_with(b".note") {
                continue;
            }
            let meta = entry.metadata().unwrap();
            total.1 += 1;
            if meta.is_dir() {
                left.push(entry.path());
            } else {
                total.0 += meta.len();
            }
        }
    }
    total
}
