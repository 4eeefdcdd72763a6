//! Ctrl+C, alone in its process: a signal concerns all that listen in one, so that these tests take turns.

use dfos::auth::Password;
use dfos::client::failure::Exit;
use dfos::client::remote::Remote;
use dfos::client::stop::Stop;
use dfos::client::target::Target;
use dfos::net::dial::dial;
use dfos::net::{Address, Cut, Until, Waiter};
use nix::poll::PollFlags;
use nix::sys::signal::{Signal, raise};
use nix::sys::socket::{Backlog, listen};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_server_that_never_stops_talking_is_interrupted() {
    let _turn = turn();
    let stop = Stop::listen().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    let talker = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut said = 0;
        // Instead of a greeting; ends when the client has gone.
        while peer.write_all(&b"WAIT\n".repeat(1000)).is_ok() {
            said += 1;
            if said == 1000 {
                raise(Signal::SIGINT).unwrap();
            }
        }
    });
    let (user, password) = ("alice".parse().unwrap(), Password::new("secret").unwrap());
    let target = Target::new(Address::Unix(path), user, password);
    assert_eq!(Remote::connect(&target, &stop).err().unwrap().exit, Exit::Interrupted);
    talker.join().unwrap();
}

#[test]
fn connecting_is_interrupted() {
    let _turn = turn();
    let stop = Stop::listen().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    listen(&listener, Backlog::new(8).unwrap()).unwrap(); // the usual 4096 are more than a process may have open
    let address = Address::Unix(path);
    let mut held = Vec::new();
    // Nobody accepts: when the queue is full, connecting waits.
    while let Ok(socket) = dial(&address, Duration::from_millis(50), &mut Waiter::deaf()) {
        held.push(socket);
    }
    let mut waiter = stop.waiter().unwrap();
    raise(Signal::SIGINT).unwrap();
    assert!(matches!(dial(&address, Duration::from_secs(600), &mut waiter), Err(Cut::Stopping)));
}

#[test]
fn one_signal_wakes_every_connection_and_is_remembered_until_it_is_forgotten() {
    let _turn = turn();
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
