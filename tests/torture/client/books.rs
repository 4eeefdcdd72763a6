//! What the server's audit says of a run: the bytes that it has moved.

use super::super::kills::house::House;
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The end of an audit, from a moment on.
pub struct Books {
    path: PathBuf,
    from: u64,
}

impl Books {
    /// From now on.
    pub fn of(house: &House) -> Books {
        let path = house.place().join("books/audit");
        let from = path.metadata().map_or(0, |found| found.len());
        Books { path, from }
    }

    /// Bytes of the files that were stored or read, once everybody who came has been seen to leave.
    pub fn moved(&self) -> Option<u64> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let lines = self.read();
            let count = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
            if count("connect") > 0 && count("disconnect") >= count("connect") {
                let moving = lines.iter().filter(|line| line["verb"] == "UPLOAD" || line["verb"] == "DOWNLOAD");
                return Some(moving.filter_map(|line| line["bytes"].as_u64()).sum());
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn read(&self) -> Vec<Value> {
        let mut text = String::new();
        let mut file = File::open(&self.path).unwrap();
        file.seek(SeekFrom::Start(self.from)).unwrap();
        file.read_to_string(&mut text).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
