//! The steps of a command, one a line: with -v as they are made, in a dry run instead of that, in the same words.

use super::escape::escape;
use super::json::Object;
use super::output::{Output, Volume};
use crate::paper::units::human;

/// Tells of one step: what is done to `name`, and where that goes. A list is what a dry run was asked for: it is data.
pub fn tell(output: &Output, dry_run: bool, verb: &'static str, name: &[u8], to: Option<&[u8]>, bytes: Option<u64>) {
    let arrow = to.map(|to| format!(" -> {}", escape(to))).unwrap_or_default();
    let mut object = Object::new(verb).path(name);
    if let Some(to) = to {
        object = object.to(to);
    }
    object.bytes = bytes;
    say(output, dry_run, &format!("{verb} {}{arrow}", escape(name)), object);
}

/// Tells of a file that is left alone, and why.
pub fn tell_kept(output: &Output, dry_run: bool, name: &[u8], why: &str) {
    let mut object = Object::new("kept").path(name);
    object.text = Some(why.to_owned());
    say(output, dry_run, &format!("skip {}: {why}", escape(name)), object);
}

fn say(output: &Output, dry_run: bool, text: &str, mut object: Object) {
    object.dry_run = dry_run.then_some(true);
    // Whoever closed standard output does not want to know.
    match (output.json, dry_run) {
        (true, _) if dry_run || output.volume == Volume::Verbose => drop(output.object(&object)),
        (false, true) => drop(output.line(text)),
        (false, false) => output.detail(text),
        _ => {}
    }
}

/// What a dry run would do, counted.
#[derive(Debug, Default)]
pub struct Steps {
    files: u64,
    bytes: u64,
    directories: u64,
}

impl Steps {
    /// Counts one step.
    pub fn count(&mut self, verb: &str, bytes: Option<u64>) {
        match verb {
            "mkdir" | "rmdir" => self.directories += 1,
            _ => self.files += 1,
        }
        self.bytes += bytes.unwrap_or(0);
    }

    /// The total.
    pub fn told(&self, kept: u64) -> String {
        let kept = if kept > 0 { format!(", {kept} left alone") } else { String::new() };
        let Steps { files, bytes, directories } = self;
        let files = if *files == 1 { "1 file".to_owned() } else { format!("{files} files") };
        let directories =
            if *directories == 1 { "1 directory".to_owned() } else { format!("{directories} directories") };
        format!("{files} ({}), {directories}{kept}: a dry run, nothing was changed", human(*bytes))
    }
}
