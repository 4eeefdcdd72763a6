//! What ps(1) shows of this process: the memory in which the kernel has put its arguments and its environment, written over. There is no
//! call for it that needs no privilege (prctl(2), PR_SET_MM); proc_pid_cmdline(5) reads on to the end of the environment where the last byte
//! of the arguments is no longer zero. Everybody on the machine can read it: nothing private belongs here.

use std::ffi::OsString;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Bytes of a title, at most.
const LONGEST: usize = 100;

static AREA: OnceLock<&'static [AtomicU8]> = OnceLock::new();

/// Takes the memory of the arguments and the environment for titles, and moves the environment out of it. To be called once, before there
/// is a second thread; the arguments cannot be read from then on. Where it cannot be had, there are no titles.
pub fn claim() {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count());
    let Some((start, length)) = place().filter(|_| threads == 1 && AREA.get().is_none()) else { return };
    move_environment();
    // SAFETY: the range is memory of this process from the kernel's own word, writable, and never given back: it lies at the bottom of the
    // stack, above the first frame. What still points there are the C library's arguments, which are strings as long as they end with
    // a zero: the last byte of the range stays one. From here on it is written to by atomic stores alone.
    let area = unsafe { std::slice::from_raw_parts(start as *const AtomicU8, length) };
    area.iter().for_each(|byte| byte.store(0, Relaxed));
    let _ = AREA.set(area);
}

/// Sets the title, as far as it fits. No system call, and no allocation.
pub fn set(title: fmt::Arguments) {
    let Some(area) = AREA.get() else { return };
    let room = area.get(..area.len().saturating_sub(1).min(LONGEST)).unwrap_or_default();
    let mut pen = Pen { room, at: 0 };
    let _ = pen.write_fmt(title); // what does not fit is left out
    // What is left of a longer one: it ends with a zero too.
    room.iter().skip(pen.at).take_while(|byte| byte.swap(0, Relaxed) != 0).count();
}

struct Pen<'a> {
    room: &'a [AtomicU8],
    at: usize,
}

impl Write for Pen<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.room.get(self.at).ok_or(fmt::Error)?.store(byte, Relaxed);
            self.at += 1;
        }
        Ok(())
    }
}

/// Where arguments and environment lie, and how many bytes they have: fields 48 to 51 of proc_pid_stat(5). `None` where the second does
/// not follow the first.
fn place() -> Option<(usize, usize)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?; // from the third on
    let field = |number: usize| fields.split(' ').nth(number - 3)?.trim_end().parse::<usize>().ok();
    let (arguments, end, environment, last) = (field(48)?, field(49)?, field(50)?, field(51)?);
    (arguments > 0 && arguments < end && end == environment && environment <= last)
        .then_some((arguments, last - arguments))
}

/// Gives each variable a string of its own on the heap.
fn move_environment() {
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    // SAFETY: there is one thread (`claim`), so nobody reads the environment meanwhile.
    unsafe { libc::clearenv() };
    for (name, value) in variables {
        if !name.is_empty() && !name.as_bytes().contains(&b'=') {
            // SAFETY: as above.
            unsafe { std::env::set_var(name, value) };
        }
    }
}
