//! The machine that a load test runs on: figures without it mean little.

use serde::Serialize;

/// What this machine is. The server's may be another one.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// Its processor, as Linux names it.
    pub processor: String,
    /// How many threads can run at once.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
}

impl Machine {
    /// This one. What cannot be found out is empty.
    pub fn this() -> Self {
        let host = nix::unistd::gethostname().unwrap_or_default();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Machine {
            host: host.to_string_lossy().into_owned(),
            processor: model(&processor).unwrap_or_default().to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
        }
    }
}

/// The name of the processor in the words of proc_cpuinfo(5).
fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_found_where_linux_names_it() {
        assert_eq!(model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: a b\n"), Some("Some CPU @ 2 GHz"));
        assert_eq!(model("processor\t: 0\n"), None);
        assert!(Machine::this().cores >= 1);
    }
}
