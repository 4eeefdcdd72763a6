//! The library that makes calls fail (faults.c), and how it is told which.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whose calls count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// This process's.
    Process(i32),
    /// Those of the next that the server forks.
    NextForked,
    /// Those of a program that is started with [`Faults::preload_counting`].
    NextStarted,
}

/// What a call does instead of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this errno.
    Errno(nix::errno::Errno),
    /// It moves half of the bytes.
    Half,
    /// It moves one byte.
    OneByte,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Errno(errno) => write!(f, "{errno:?}"),
            Fault::Half => f.write_str("half"),
            Fault::OneByte => f.write_str("one-byte"),
        }
    }
}

/// Which call fails, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The call and what it is about: `fsync dir`.
    pub call: String,
    /// Which of them, from 1 on.
    pub nth: u32,
    /// How.
    pub fault: Fault,
    /// Whether all that follow fail too.
    pub lasting: bool,
}

impl std::fmt::Display for Failing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Failing { call, nth, fault, lasting } = self;
        write!(f, "{call}/{nth}{}/{fault}", if *lasting { "+" } else { "" })
    }
}

/// What the library has seen.
pub struct Seen {
    /// How often each call was made.
    pub counts: BTreeMap<String, u32>,
    /// How often one failed.
    pub hits: u32,
    /// Of the first that did: the path, where there is one.
    pub detail: String,
}

// Where things stand in the memory that is shared: `struct control` in faults.c.
const ARMED: u64 = 0;
const WHOM: u64 = 4;
const FORKED: u64 = 8;
const NTH: u64 = 12;
const FAULT: u64 = 16;
const LASTING: u64 = 20;
const HITS: u64 = 24;
const KINDS: u64 = 28;
const DISK: u64 = 32;
const CALL: u64 = 40;
const DETAIL: u64 = CALL + NAME as u64;
const SEEN: u64 = DETAIL + 120;
const NAME: usize = 40;
const ROW: usize = NAME + 8;
const ROWS: usize = 128;

/// The library, and the memory that it shares with the test.
pub struct Faults {
    place: tempfile::TempDir,
    control: File,
}

impl Faults {
    /// Builds the library; the reason if there is no compiler.
    pub fn build() -> Result<Faults, String> {
        let place = tempfile::Builder::new().prefix("dfos-faults-").tempdir().unwrap();
        std::fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture/calls/faults.c");
        let options = ["-O1", "-shared", "-fPIC", "-o"];
        let built = Command::new("cc").args(options).arg(library(&place)).arg(source).output();
        match built {
            Err(why) => return Err(format!("needs cc: {why}")),
            Ok(output) if !output.status.success() => panic!("{}", String::from_utf8_lossy(&output.stderr)),
            Ok(_) => {}
        }
        let path = place.path().join("control");
        let control = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        control.set_len(SEEN + (ROW * ROWS) as u64).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap(); // for those who have left root
        let faults = Faults { place, control };
        // What lies on the disk of the test is a file; in memory none is ever full, or breaks.
        let disk = std::fs::metadata(std::env::temp_dir()).unwrap().dev();
        faults.control.write_all_at(&disk.to_ne_bytes(), DISK).unwrap();
        Ok(faults)
    }

    /// Has a program that this command starts run with the library.
    pub fn preload(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library(&self.place)).env("DFOS_FAULTS", self.place.path().join("control"));
    }

    /// The same; its calls count from its first on, if they are armed so.
    pub fn preload_counting(&self, command: &mut Command) {
        self.preload(command);
        command.env("DFOS_FAULTS_FROM_START", "1");
    }

    /// From now on calls are counted, and one fails.
    pub fn arm(&self, whose: Whose, failing: Option<&Failing>) {
        self.disarm();
        let whom = match whose {
            Whose::Process(pid) => pid,
            Whose::NextForked => 0,
            Whose::NextStarted => -1,
        };
        let fault = match failing.map(|failing| failing.fault) {
            None => 0,
            Some(Fault::Errno(errno)) => errno as i32,
            Some(Fault::Half) => -1,
            Some(Fault::OneByte) => -2,
        };
        let mut call = [0; NAME];
        let name = failing.map_or("", |failing| &failing.call).as_bytes();
        call[..name.len()].copy_from_slice(name);
        self.put(WHOM, whom);
        self.put(NTH, failing.map_or(0, |failing| failing.nth as i32));
        self.put(FAULT, fault);
        self.put(LASTING, failing.is_some_and(|failing| failing.lasting).into());
        self.put(HITS, 0);
        self.put(KINDS, 0);
        self.control.write_all_at(&call, CALL).unwrap();
        self.put(ARMED, 1);
    }

    /// From now on nothing fails; what has been seen.
    pub fn disarm(&self) -> Seen {
        self.put(ARMED, 0);
        let mut rows = vec![0; ROW * ROWS];
        self.control.read_exact_at(&mut rows, SEEN).unwrap();
        let row = |row: &[u8]| (text(&row[..NAME]), u32::from_ne_bytes(row[NAME..NAME + 4].try_into().unwrap()));
        let counts = rows.chunks(ROW).take(self.get(KINDS) as usize).map(row).collect();
        let mut detail = [0; 120];
        self.control.read_exact_at(&mut detail, DETAIL).unwrap();
        Seen { counts, hits: self.get(HITS) as u32, detail: text(&detail) }
    }

    /// The process that the server forked last.
    pub fn forked(&self) -> i32 {
        self.get(FORKED)
    }

    fn put(&self, at: u64, value: i32) {
        self.control.write_all_at(&value.to_ne_bytes(), at).unwrap();
    }

    fn get(&self, at: u64) -> i32 {
        let mut bytes = [0; 4];
        self.control.read_exact_at(&mut bytes, at).unwrap();
        i32::from_ne_bytes(bytes)
    }
}

fn library(place: &tempfile::TempDir) -> PathBuf {
    place.path().join("faults.so")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}
