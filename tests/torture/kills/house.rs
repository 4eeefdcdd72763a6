//! A server that is killed and started again in the same place: on the same port and sockets, over whatever was left there.

use super::super::common::{Process, Raw, Server, command, eventually, give, home, process};
use super::super::run::Chance;
use super::strike::Fate;
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A server with its place.
pub struct House {
    server: Option<Server>,
    /// What the server of before had to say last.
    last_words: Vec<String>,
    options: Vec<String>,
    place: PathBuf,
}

impl House {
    /// Starts a server on a free port of a loopback address that is this process's own: nobody takes the port while it is down.
    pub fn build() -> House {
        let home = home();
        let place = home.path().to_owned();
        fs::create_dir(place.join("books")).unwrap();
        give(&place);
        let pid = std::process::id();
        let host = format!("127.{}.{}.{}", 1 + (pid >> 14 & 0x7F), pid >> 7 & 0x7F, 1 + (pid & 0x7F));
        let mut options: Vec<String> =
            ["--quota", "256MiB", "--trash", "30d", "--grace", "5", "--audit-required"].map(str::to_owned).to_vec();
        options.extend(["--audit".into(), text(&place.join("books/audit"))]);
        options.extend(["--control".into(), text(&place.join("run/control"))]);
        options.extend(["--listen".into(), format!("unix:{}", text(&place.join("socket")))]);
        options.extend(["--listen".into(), format!("tcp://{host}:0")]);
        let mut house = House { server: None, last_words: Vec::new(), options, place };
        house.start(home);
        let listens = format!("tcp://{}", house.server().address());
        *house.options.last_mut().unwrap() = listens;
        house
    }

    fn start(&mut self, home: tempfile::TempDir) {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        self.server = Some(Server::spawn(command(home.path(), &options), home, &options));
    }

    /// The server that runs.
    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// The same, to be killed.
    pub fn server_mut(&mut self) -> &mut Server {
        self.server.as_mut().unwrap()
    }

    /// Where all of it lies.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Starts the server again if it was killed: at once, while its sessions still end, or once they have; what is wrong with it then.
    pub fn recover(&mut self, fate: Fate, chance: &mut Chance) -> Vec<String> {
        self.last_words.clear();
        if fate.spares_listener() {
            self.server().wait_idle();
            return self.faults();
        }
        let old = self.server.take().unwrap();
        let leader = old.pid();
        if chance.one_in(2) {
            eventually("all of them have gone", || family(leader).is_empty());
        }
        self.last_words = old.log();
        self.start(old.leave());
        eventually("those of before have gone", || family(leader).is_empty());
        self.server().wait_idle();
        self.faults()
    }

    /// Prints the end of the log, to see what led to a loss.
    pub fn tell_log(&self) {
        let log = [self.last_words.clone(), self.server().log()].concat();
        log.iter().skip(log.len().saturating_sub(60)).for_each(|line| println!("    log: {line}"));
    }

    /// Whether the server serves at each of its doors.
    fn faults(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        Raw::unix(&self.place.join("socket")).demand("PING", "OK");
        let mut ask = std::process::Command::new(super::super::common::binary());
        ask.args(["status", "--control"]).arg(self.place.join("run/control")).env("DFOS_FORKD_CONFIG", "none");
        let said = ask.output().unwrap();
        if !said.status.success() {
            wrong.push(format!("'status' says: {}", String::from_utf8_lossy(&said.stderr)));
        }
        wrong
    }

    /// Makes all that broken-off uploads left older than it is kept, and logs everybody in; what is left then.
    pub fn sweep(&self) -> Vec<String> {
        let old = fs::FileTimes::new();
        let then = SystemTime::now() - Duration::from_secs(8 * 24 * 3600);
        let old = old.set_modified(then).set_accessed(then);
        let mut wrong = Vec::new();
        for n in 0..6 {
            let user = format!("user{n}");
            for file in self.server().partials(&user) {
                fs::File::options().write(true).open(file).unwrap().set_times(old).unwrap();
            }
            if n != 5 {
                drop(self.server().login(&user)); // user5 has another password by now, and uploads nothing
            }
            let left = self.server().partials(&user);
            if !left.is_empty() {
                wrong.push(format!(
                    "{} unfinished uploads of {user} are not swept, as {}",
                    left.len(),
                    left[0].display()
                ));
            }
        }
        self.server().wait_idle();
        wrong
    }
}

/// A path as an option.
fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// All processes that live of a server whose listener was, or is, this one.
pub fn family(leader: Pid) -> Vec<Process> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(process).filter(|process| process.session == leader && process.state != 'Z').collect()
}
