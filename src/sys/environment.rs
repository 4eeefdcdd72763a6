//! The environment. What a starter says in it to this process alone is taken out before anything else happens, so that no program that
//! is started later believes it was meant.

use super::fork::threads;
use std::io;

/// Removes variables. Refuses in a process with several threads: another may be reading the environment.
pub fn remove(names: &[&str]) -> io::Result<()> {
    let threads = threads()?;
    if threads > 1 {
        return Err(io::Error::other(format!("refusing to change the environment with {threads} threads")));
    }
    for name in names {
        // SAFETY: the process has one thread (checked above), and that is here: nobody else reads or changes the environment.
        unsafe { std::env::remove_var(name) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn with_several_threads_nothing_is_removed() {
        let (wake, parked) = channel::<()>();
        let other = std::thread::spawn(move || parked.recv());
        let refused = remove(&["PATH"]).is_err_and(|why| why.to_string().contains("refusing to change"));
        drop(wake);
        let _ = other.join();
        assert!(refused && std::env::var_os("PATH").is_some());
    }
}
