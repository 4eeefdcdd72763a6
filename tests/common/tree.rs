//! What lies in a directory, to compare before and after.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// One name: type, mode, time of change, and what it holds.
pub type Seen = (char, u32, (i64, i64), Vec<u8>);

/// Everything below `dir`, without the server's reserved directories. Links are not followed.
pub fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.filter_map(Result::ok).filter(|entry| entry.file_name() != ".dfos") {
            let path = entry.path();
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            let (kind, content) = match meta.file_type() {
                t if t.is_dir() => ('d', Vec::new()),
                t if t.is_symlink() => ('l', fs::read_link(&path).unwrap().as_os_str().as_encoded_bytes().to_vec()),
                t if t.is_file() => ('f', fs::read(&path).unwrap_or_default()),
                _ => ('o', Vec::new()),
            };
            if kind == 'd' {
                todo.push(path.clone());
            }
            let time = if kind == 'f' { (meta.mtime(), meta.mtime_nsec()) } else { (0, 0) };
            found.insert(path, (kind, meta.permissions().mode(), time, content));
        }
    }
    found
}

/// The digest of `bytes` as the protocol writes it.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Bytes that look like nothing, the same for the same seed (xorshift64*).
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
