//! A file system of the test's own, that fills, empties, turns read-only and fails at will. It goes with its value.

use nix::fcntl::{FallocateFlags, fallocate};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is mounted somewhere.
pub struct Volume {
    at: PathBuf,
    /// What an ext4 lies in.
    image: Option<Image>,
}

/// A disk: a file with holes, on a file system that may be too small for it.
struct Image {
    file: PathBuf,
    /// The small file system, if it lies on one.
    ground: Option<Box<Volume>>,
    /// Where all of it lies.
    _shelf: tempfile::TempDir,
}

fn run(program: &str, words: &[&str]) -> Result<(), String> {
    let output =
        Command::new(program).args(words).stdin(Stdio::null()).output().map_err(|why| format!("{program}: {why}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program} {}: {}", words.join(" "), said.trim())) }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Volume {
    /// A tmpfs of so many MiB, with room for so many files.
    pub fn tmpfs(at: &Path, mib: u64, inodes: u64) -> Result<Volume, String> {
        fs::create_dir_all(at).unwrap();
        run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={mib}m,nr_inodes={inodes},mode=0755"), "dfos-test", text(at)],
        )?;
        Ok(Volume { at: at.to_owned(), image: None })
    }

    /// An ext4 of so many MiB with room for so many files, all of which root may use up. What it lies on has room for all of it, or
    /// for `ground` MiB: what is written beyond that fails as on a broken disk.
    pub fn ext4(at: &Path, mib: u64, inodes: u64, ground: Option<u64>) -> Result<Volume, String> {
        fs::create_dir_all(at).unwrap();
        let shelf = tempfile::Builder::new().prefix("dfos-test-").tempdir().unwrap();
        let ground = ground.map(|mib| Volume::tmpfs(&shelf.path().join("ground"), mib, 100)).transpose()?.map(Box::new);
        let file = ground.as_ref().map_or(shelf.path(), |ground| &ground.at).join("image");
        File::create(&file).and_then(|file| file.set_len(mib << 20)).unwrap();
        // Its own blocks have their place from the beginning: it is data that fails, so that the file system can go on when it is over.
        let whole = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        run("mkfs.ext4", &["-q", "-F", "-m", "0", "-N", &inodes.to_string(), "-E", whole, text(&file)])?;
        let image = Image { file, ground, _shelf: shelf };
        let volume = Volume { at: at.to_owned(), image: Some(image) };
        volume.mount()?;
        Ok(volume)
    }

    fn mount(&self) -> Result<(), String> {
        let Some(image) = &self.image else { return Ok(()) };
        run("mount", &["-o", "loop,errors=remount-ro", text(&image.file), text(&self.at)])
    }

    /// Takes all room but so many bytes.
    pub fn fill(&self, leave: u64) {
        let filler = File::options().create(true).append(true).open(self.at.join("filler")).unwrap();
        let mut end = filler.metadata().unwrap().len();
        let mut step = 4 << 20;
        while step >= 1024 {
            match fallocate(&filler, FallocateFlags::empty(), end as i64, step as i64) {
                Ok(()) => end += step,
                Err(_) => step /= 4,
            }
        }
        filler.set_len(end.saturating_sub(leave)).unwrap();
    }

    /// Takes all inodes but so many.
    pub fn hoard(&self, leave: usize) {
        let hoard = self.at.join("hoard");
        let _ = fs::create_dir(&hoard);
        let count = (0..).find(|n| File::create(hoard.join(n.to_string())).is_err()).unwrap_or(0);
        (0..leave.min(count)).for_each(|n| fs::remove_file(hoard.join(n.to_string())).unwrap());
    }

    /// Gives room and inodes back.
    pub fn empty(&self) {
        let _ = fs::remove_file(self.at.join("filler"));
        let _ = fs::remove_dir_all(self.at.join("hoard"));
    }

    /// Makes it read-only, or writable again. That waits for a moment in which nobody has a file open to write; whether one came.
    pub fn remount(&self, how: &str, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            match run("mount", &["-o", &format!("remount,{how}"), text(&self.at)]) {
                Err(_) if Instant::now() < deadline => {}
                done => return done.is_ok(),
            }
        }
    }

    /// Lets what it lies on run out of room: writes that need more of it fail.
    pub fn fail(&self) {
        if let Some(ground) = self.image.as_ref().and_then(|image| image.ground.as_ref()) {
            ground.fill(0);
        }
    }

    /// What it lies on has room again, and will be missing it again the next time: what is free here is free there.
    pub fn recover(&self) {
        if let Some(ground) = self.image.as_ref().and_then(|image| image.ground.as_ref()) {
            ground.empty();
            let _ = run("fstrim", &[text(&self.at)]);
        }
    }

    /// Whether the file system has stopped by itself, as ext4 does when its own blocks cannot be written: only unmounting helps then.
    pub fn gave_up(&self) -> bool {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        mounts.lines().any(|line| line.split(' ').nth(1) == Some(text(&self.at)) && line.contains("emergency_ro"))
    }

    /// Takes it down and mounts it anew, so that what is read next comes from the disk. It must be in order, unless it gave up. Whether
    /// that could be done: somebody else on this machine may hold a copy of the mount in a namespace of his own.
    pub fn seen_on_the_disk(&self) -> Result<bool, String> {
        let Some(image) = &self.image else { return Ok(true) };
        let gave_up = self.gave_up();
        run("umount", &[text(&self.at)])?;
        if !image.is_let_go() {
            return Ok(false);
        }
        let how = if gave_up { "-y" } else { "-n" };
        let fsck =
            Command::new("fsck.ext4").args(["-f", how]).arg(&image.file).output().map_err(|why| why.to_string())?;
        match fsck.status.code() {
            Some(0) => self.mount().map(|()| true),
            Some(1..=3) if gave_up => self.mount().map(|()| true),
            _ => Err(format!("fsck.ext4: {}", String::from_utf8_lossy(&fsck.stdout))),
        }
    }
}

impl Image {
    /// Waits until no loop device has it any more; whether that came about.
    fn is_let_go(&self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        let is_held =
            || Command::new("losetup").arg("-j").arg(&self.file).output().is_ok_and(|told| !told.stdout.is_empty());
        while is_held() {
            if Instant::now() > deadline {
                return false;
            }
        }
        true
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).stderr(Stdio::null()).status();
    }
}

/// Whether anything can be mounted here; why not.
pub fn can_mount() -> Result<(), String> {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    Volume::tmpfs(&place.path().join("trial"), 1, 10).map(drop)
}
