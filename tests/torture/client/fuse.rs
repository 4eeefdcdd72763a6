//! A line between client and server on which something happens at a byte that is chosen beforehand: so any instant of a transfer is as
//! likely as any other, however fast the machine is.

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// What happens.
pub type Blow = Box<dyn FnOnce() + Send>;

/// A place that clients connect to and are connected on from, all with one fuse.
pub struct Line {
    address: String,
    fuse: Arc<Fuse>,
    over: Arc<AtomicBool>,
}

/// What burns down as bytes pass, whichever way and over whichever connection.
#[derive(Default)]
pub struct Fuse {
    charge: Mutex<Option<(u64, Blow)>>,
    connections: Mutex<Vec<Weak<Connection>>>,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    cut: AtomicBool,
}

impl Line {
    /// A line to a server's address.
    pub fn to(server: &str) -> Line {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = Line { address: door.local_addr().unwrap().to_string(), fuse: Arc::default(), over: Arc::default() };
        let (server, fuse, over) = (server.to_owned(), line.fuse.clone(), line.over.clone());
        std::thread::spawn(move || {
            for client in door.incoming().map_while(Result::ok).take_while(|_| !over.load(Ordering::SeqCst)) {
                // A server that is not there is seen as one that hangs up.
                let Ok(server) = TcpStream::connect(&server) else { continue };
                join(&fuse, client, server);
            }
        });
        line
    }

    /// Where clients connect.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What a blow cuts the line by.
    pub fn fuse(&self) -> Arc<Fuse> {
        self.fuse.clone()
    }

    /// From now on `blow` falls as soon as so many bytes have passed.
    pub fn arm(&self, bytes: u64, blow: Blow) {
        *self.fuse.charge.lock().unwrap() = Some((bytes, blow));
    }

    /// Nothing falls any more; whether it has.
    pub fn disarm(&self) -> bool {
        self.fuse.charge.lock().unwrap().take().is_none()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address); // wakes who waits for the next client
        self.fuse.cut(false);
    }
}

impl Fuse {
    /// Cuts every connection that there is: as a machine that goes away in order, or with a reset.
    pub fn cut(&self, reset: bool) {
        for connection in self.connections.lock().unwrap().drain(..).filter_map(|connection| connection.upgrade()) {
            connection.cut.store(true, Ordering::SeqCst);
            for end in [&connection.client, &connection.server] {
                if reset {
                    let _ = setsockopt(end, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
                }
                // Who reads here is woken and closes; with nothing said before, that is a reset.
                let _ = end.shutdown(if reset { Shutdown::Read } else { Shutdown::Both });
            }
        }
    }

    /// So many bytes are about to pass: how many still do before the blow, and the blow.
    fn burn(&self, bytes: usize) -> Option<(usize, Blow)> {
        let mut charge = self.charge.lock().unwrap();
        let (left, _) = charge.as_mut()?;
        let passing = usize::try_from(*left).unwrap_or(usize::MAX);
        if passing > bytes {
            *left -= bytes as u64;
            return None;
        }
        charge.take().map(|(_, blow)| (passing, blow))
    }
}

fn join(fuse: &Arc<Fuse>, client: TcpStream, server: TcpStream) {
    let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { return };
    let connection = Arc::new(Connection { client, server, cut: AtomicBool::new(false) });
    fuse.connections.lock().unwrap().push(Arc::downgrade(&connection));
    for (from, is_client) in [(from_client, true), (from_server, false)] {
        let (fuse, connection) = (fuse.clone(), connection.clone());
        std::thread::spawn(move || {
            let to = if is_client { &connection.server } else { &connection.client };
            let ended = pass_on(&fuse, from, to);
            if connection.cut.load(Ordering::SeqCst) {
                return; // the ends close as both threads go
            }
            let _ = to.shutdown(Shutdown::Write);
            if ended.is_err() {
                let _ = [&connection.client, &connection.server].map(|end| end.shutdown(Shutdown::Both));
            }
        });
    }
}

fn pass_on(fuse: &Fuse, mut from: TcpStream, mut to: &TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let mut passed = 0;
        if let Some((before, blow)) = fuse.burn(count) {
            to.write_all(&buffer[..before])?;
            passed = before;
            blow();
        }
        to.write_all(&buffer[passed..count])?;
    }
}
