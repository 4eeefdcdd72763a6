//! Ctrl+C, alone in its process: a signal concerns all that listen in one.

use dfos::client::failure::Exit;
use dfos::client::stop::Stop;
use dfos::net::{Cut, Until};
use nix::poll::PollFlags;
use nix::sys::signal::{Signal, raise};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[test]
fn one_signal_wakes_every_connection_and_is_remembered_until_it_is_forgotten() {
    let stop = Stop::listen().unwrap();
    let long = Duration::from_secs(60);
    std::thread::scope(|scope| {
        let (ready, started) = std::sync::mpsc::channel();
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let (mut waiter, ready) = (stop.waiter().unwrap(), ready.clone());
                scope.spawn(move || {
                    let (silent, _other) = UnixStream::pair().unwrap();
                    ready.send(()).unwrap();
                    waiter.wait(silent.as_fd(), PollFlags::POLLIN, Until::silent_for(long))
                })
            })
            .collect();
        let sleeping = scope.spawn(|| stop.sleep(long));
        (0..4).for_each(|_| started.recv().unwrap());
        raise(Signal::SIGINT).unwrap();
        for thread in waiting {
            assert!(matches!(thread.join().unwrap(), Err(Cut::Stopping)));
        }
        assert_eq!(sleeping.join().unwrap().unwrap_err().exit, Exit::Interrupted);
    });
    assert!(stop.asked());
    assert!(stop.waiter().is_err(), "a connection that comes after the signal must not begin");
    stop.forget();
    assert!(!stop.asked());
    assert!(stop.waiter().is_ok());
    stop.sleep(Duration::from_millis(1)).unwrap();
}
