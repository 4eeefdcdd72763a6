//! A file system of the test's own, that fills, empties, turns read-only and fails at will. It goes with its value.

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
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

/// What becomes of a disk at [`Volume::fail`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// Nothing.
    Sound,
    /// What has no place yet cannot be written any more. What the file system keeps for itself has one: it is data that fails, mostly.
    Failing,
    /// The same, and nothing has a place: the first that fails is the journal.
    Dying,
}

/// A disk: a file with holes.
struct Image {
    file: PathBuf,
    mib: u64,
    /// The file system it lies on if it is to fail, by having no room for what is written into the holes.
    ground: Option<Box<Volume>>,
    requests: Option<SmallRequests>,
    /// Where all of it lies.
    _shelf: tempfile::TempDir,
}

/// A loop device that writes a page at a time, until this goes. Of a larger request of which only the beginning found room Linux 6.18 says
/// that all of it is written, and a disk that lies is not what is tried here.
struct SmallRequests {
    setting: PathBuf,
    before: String,
}

impl SmallRequests {
    fn of(device: &str) -> std::io::Result<SmallRequests> {
        let setting = PathBuf::from(format!("/sys/block/{}/queue/max_sectors_kb", device.trim_start_matches("/dev/")));
        let before = fs::read_to_string(&setting)?;
        fs::write(&setting, (PAGE / 1024).to_string())?;
        Ok(SmallRequests { setting, before })
    }
}

impl Drop for SmallRequests {
    fn drop(&mut self) {
        let _ = fs::write(&self.setting, &self.before);
    }
}

/// MiB more than a disk has that a ground with room for all of it has.
const SPARE: u64 = 1;

/// Bytes of a page, and of a block of a disk that fails: a request is for one of them.
const PAGE: u64 = 4096;

fn run(program: &str, words: &[&str]) -> Result<String, String> {
    let output =
        Command::new(program).args(words).stdin(Stdio::null()).output().map_err(|why| format!("{program}: {why}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{program} {}: {}", words.join(" "), said.trim())),
    }
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

    /// An ext4 of so many MiB with room for so many files, all of which root may use up.
    pub fn ext4(at: &Path, mib: u64, inodes: u64, disk: Disk) -> Result<Volume, String> {
        fs::create_dir_all(at).unwrap();
        let shelf = tempfile::Builder::new().prefix("dfos-test-").tempdir().unwrap();
        let ground = match disk {
            Disk::Sound => None,
            Disk::Failing | Disk::Dying => {
                let ground = Volume::tmpfs(&shelf.path().join("ground"), mib + SPARE, 100)?;
                Some(Box::new(ground))
            }
        };
        let file = ground.as_ref().map_or(shelf.path(), |ground| &ground.at).join("image");
        File::create(&file).and_then(|file| file.set_len(mib << 20)).unwrap();
        let mut words = format!("mkfs.ext4 -q -F -m 0 -N {inodes} -E nodiscard,lazy_itable_init=0,lazy_journal_init=0");
        if ground.is_some() {
            words += &format!(" -b {PAGE}");
        }
        if let Disk::Failing = disk {
            words = format!("env UNIX_IO_NOZEROOUT=1 {words}"); // zeros are written, and not punched as holes
        }
        let words: Vec<_> = words.split(' ').chain([text(&file)]).collect();
        run(words[0], &words[1..])?;
        let image = Image { file, mib, ground, requests: None, _shelf: shelf };
        let mut volume = Volume { at: at.to_owned(), image: Some(image) };
        volume.mount()?;
        Ok(volume)
    }

    fn mount(&mut self) -> Result<(), String> {
        let Some(image) = &mut self.image else { return Ok(()) };
        run("mount", &["-o", "loop,errors=remount-ro", text(&image.file), text(&self.at)])?;
        if image.ground.is_some() {
            let device = run("findmnt", &["--noheadings", "--output", "SOURCE", text(&self.at)])?;
            let requests = SmallRequests::of(device.trim()).map_err(|why| format!("{}: {why}", device.trim()))?;
            image.requests = Some(requests);
        }
        Ok(())
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

    /// What it lies on has no more room from now on.
    pub fn fail(&self) {
        let Some(ground) = self.image.as_ref().and_then(|image| image.ground.as_ref()) else { return };
        let used = || statvfs(&ground.at).map(|now| (now.blocks() - now.blocks_free()) * now.fragment_size()).unwrap();
        while ground.resize(used()).is_err() {} // more was written meanwhile
    }

    /// What it lies on has room again, and will be missing it again the next time: what is free here is free there. Not once the file
    /// system has given up: ext4 then counts blocks as free whose freeing never came into its journal, and trimming them empties files
    /// that are there again when it is repaired.
    pub fn recover(&self) {
        let Some(image) = &self.image else { return };
        let Some(ground) = &image.ground else { return };
        ground.resize((image.mib + SPARE) << 20).unwrap();
        // The first may tell of a write that failed before.
        let is_well = (0..2).any(|_| run("sync", &["--file-system", text(&self.at)]).is_ok());
        if is_well && !self.gave_up() {
            let _ = run("fstrim", &[text(&self.at)]);
        }
    }

    /// Gives a tmpfs so many bytes, unless more are in use.
    fn resize(&self, bytes: u64) -> Result<String, String> {
        run("mount", &["-o", &format!("remount,size={bytes}"), text(&self.at)])
    }

    /// Whether the file system has stopped by itself, as ext4 does when its own blocks cannot be written: only unmounting helps then.
    pub fn gave_up(&self) -> bool {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        mounts.lines().any(|line| line.split(' ').nth(1) == Some(text(&self.at)) && line.contains("emergency_ro"))
    }

    /// Takes it down and mounts it anew, so that what is read next comes from the disk. It must be in order, unless it gave up. Whether
    /// that could be done: somebody else on this machine may hold a copy of the mount in a namespace of his own.
    pub fn seen_on_the_disk(&mut self) -> Result<bool, String> {
        let gave_up = self.gave_up();
        let Some(image) = &mut self.image else { return Ok(true) };
        run("umount", &[text(&self.at)])?;
        image.requests = None;
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
