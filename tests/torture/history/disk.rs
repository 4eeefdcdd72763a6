//! What lies on the disk between two windows.

use super::model::{Dir, NAMES, Name, TOP, Thing, Tree};
use super::record::content;
use std::fs;
use std::path::Path;

/// What was found.
#[derive(Default)]
pub struct Disk {
    pub tree: Tree,
    /// Bytes of files, and how many names there are.
    pub used: (u64, u64),
    /// What must not be there.
    pub wrong: Vec<String>,
}

/// Numbers of directories that were there at the beginning of a window: no request has them.
const FOUND: Dir = 1 << 30;

/// Looks at all that lies below a user's directory.
pub fn look(top: &Path) -> std::io::Result<Disk> {
    let mut disk = Disk::default();
    look_into(&mut disk, top, TOP)?;
    let left = fs::read_dir(top.join(".dfos/uploads")).into_iter().flatten().count();
    if left > 0 {
        disk.wrong.push(format!("{left} staged files are left"));
    }
    Ok(disk)
}

fn look_into(disk: &mut Disk, path: &Path, dir: Dir) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if name == ".dfos" {
            continue;
        }
        disk.used.1 += 1;
        let Some(number) = NAMES.iter().position(|known| name == **known) else {
            disk.wrong.push(format!("{} has a name that nobody gave", path.display()));
            continue;
        };
        if entry.file_type()?.is_dir() {
            let below = FOUND + disk.used.1 as Dir;
            disk.tree.set(dir, number as Name, Some(Thing::Dir(below)));
            look_into(disk, &path, below)?;
            continue;
        }
        let bytes = fs::read(&path)?;
        disk.used.0 += bytes.len() as u64;
        match upload_of(&bytes) {
            Some(upload) => disk.tree.set(dir, number as Name, Some(Thing::File(upload))),
            None => disk.wrong.push(format!("{} is torn: {} bytes of no upload", path.display(), bytes.len())),
        }
    }
    Ok(())
}

/// The upload that brought exactly these bytes.
fn upload_of(bytes: &[u8]) -> Option<u32> {
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    let upload = std::str::from_utf8(line).ok()?.parse().ok()?;
    (content(upload) == bytes).then_some(upload)
}
