//! How many sessions there can be here: each is a process, and the kernel, the service manager and the user's own limit bound these. What
//! --max-clients asks for beyond that is refused when it comes; here the operator hears of it before.

use super::options::ServeOptions;
use nix::sys::resource::{Resource, getrlimit};
use std::fs;
use std::path::{Path, PathBuf};

/// Processes that are no sessions: the listener and the scribe.
const OURS: u64 = 2;

/// Something that bounds processes.
#[derive(Debug, PartialEq, Eq)]
struct Bound {
    most: u64,
    what: String,
}

/// What the operator should read where fewer processes are to be had than the options ask for. To be asked as the user that serves.
pub fn shortage(options: &ServeOptions) -> Option<String> {
    let (clients, logins) = (options.max_clients, options.gate.max_logins);
    let needed = u64::from(clients) + u64::from(logins) + OURS;
    let Bound { most, what } = bounds().min_by_key(|bound| bound.most).filter(|bound| bound.most < needed)?;
    Some(format!(
        "--max-clients {clients} and --max-logins {logins} take {needed} processes, and there can be {most} ({what}): \
         connections beyond that are refused"
    ))
}

fn bounds() -> impl Iterator<Item = Bound> {
    let of_user = getrlimit(Resource::RLIMIT_NPROC).ok().map(|(soft, _)| soft);
    let of_user = of_user.map(|most| Bound { most, what: "ulimit -u, LimitNPROC=".into() });
    let of_kernel = ["pid_max", "threads-max"].into_iter().filter_map(|name| {
        let most = number(Path::new("/proc/sys/kernel").join(name))?;
        Some(Bound { most, what: format!("sysctl kernel.{name}") })
    });
    let of_groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    of_user.into_iter().chain(of_kernel).chain(groups(&of_groups).into_iter().filter_map(of_group))
}

/// The directories of the control groups that bound processes, this process's own and all above it, from /proc/self/cgroup (cgroups(7)).
fn groups(text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let root = match controllers {
            "" => Path::new("/sys/fs/cgroup"),
            "pids" => Path::new("/sys/fs/cgroup/pids"),
            _ => continue,
        };
        let own = Path::new(path.trim_start_matches('/'));
        found.extend(own.ancestors().map(|above| root.join(above)));
    }
    found
}

fn of_group(dir: PathBuf) -> Option<Bound> {
    let most = number(dir.join("pids.max"))?;
    Some(Bound { most, what: format!("{}/pids.max, TasksMax=", dir.display()) })
}

/// The number in a file; `None` for `max`, and where there is no such file.
fn number(path: PathBuf) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::options::Options;
    use clap::Parser;

    fn told(clients: &str) -> Option<String> {
        shortage(&Options::parse_from(["dfos-forkd", "--max-clients", clients, "--max-logins", "10"]).serve)
    }

    #[test]
    fn more_sessions_than_the_kernel_has_numbers_for_are_told_of_and_a_few_are_not() {
        let pids = number("/proc/sys/kernel/pid_max".into()).unwrap();
        assert!(pids >= 1_000_000 || told("1000000").is_some_and(|text| text.contains("take 1000012 processes")));
        assert_eq!(told("3"), None);
    }

    #[test]
    fn every_group_above_ones_own_counts_and_both_kinds_are_found() {
        let text = "12:memory:/x\n8:pids:/a/b\n1:name=systemd:/a\n0::/s.slice/d.service\nrubbish\n";
        let expected = ["pids/a/b", "pids/a", "pids/", "s.slice/d.service", "s.slice", ""]
            .map(|at| Path::new("/sys/fs/cgroup").join(at));
        assert_eq!(groups(text), expected);
    }

    #[test]
    fn a_group_without_a_limit_is_no_bound() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of_group(dir.path().into()), None);
        for (text, most) in [("max\n", None), ("77\n", Some(77))] {
            fs::write(dir.path().join("pids.max"), text).unwrap();
            assert_eq!(of_group(dir.path().into()).map(|bound| bound.most), most);
        }
    }
}
