//! A network of one machine: a network namespace (network_namespaces(7)) that is connected to nothing but a TUN device, of which this
//! process holds the other end. It lives in no file: when its processes and descriptors are gone, so is it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::process::Command;

/// The device in each place.
const DEVICE: &str = "dfos0";

/// A network namespace with one device.
pub struct Place {
    namespace: File,
}

impl Place {
    /// A place with this address, and the device's other end: each read(2) of it gives one IP packet that the place has sent, each
    /// write(2) is one that it receives.
    pub fn new(address: &str) -> Result<(Place, File), String> {
        // A namespace is a thread's: this one ends, the namespace stays as long as a descriptor of it is open.
        let build = || {
            leave_the_network().map_err(|why| format!("no network namespace can be had: {why}"))?;
            let namespace = File::open("/proc/thread-self/ns/net").map_err(|why| format!("/proc: {why}"))?;
            let device = tun().map_err(|why| format!("no TUN device can be had: {why}"))?;
            ip(&format!("link set {DEVICE} up mtu 1500"))?;
            ip("link set lo up")?;
            ip(&format!("address add {address}/24 dev {DEVICE}"))?;
            Ok((Place { namespace }, device))
        };
        std::thread::scope(|scope| scope.spawn(build).join().unwrap())
    }

    /// Does something there, on a thread of its own: sockets that are made and processes that are started belong there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let there = || {
            enter(&self.namespace).expect("the network namespace can be entered");
            work()
        };
        std::thread::scope(|scope| scope.spawn(there).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Its address becomes another.
    pub fn move_to(&self, old: &str, new: &str) {
        self.inside(|| {
            ip(&format!("address del {old}/24 dev {DEVICE}")).unwrap();
            ip(&format!("address add {new}/24 dev {DEVICE}")).unwrap();
        });
    }

    /// Changes a setting of its TCP, such as `tcp_retries2` (tcp(7)).
    pub fn set(&self, key: &str, value: &str) {
        self.inside(|| std::fs::write(format!("/proc/sys/net/ipv4/{key}"), value).unwrap());
    }
}

/// ip(8), in the namespace of this thread.
fn ip(words: &str) -> Result<(), String> {
    let ip = Command::new("ip").args(words.split(' ')).output().map_err(|why| format!("needs ip (iproute2): {why}"))?;
    if ip.status.success() {
        Ok(())
    } else {
        Err(format!("ip {words}: {}", String::from_utf8_lossy(&ip.stderr).trim()))
    }
}

/// A new network namespace for this thread.
fn leave_the_network() -> io::Result<()> {
    // SAFETY: unshare(2) takes no pointer; CLONE_NEWNET concerns the calling thread alone.
    told(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// Makes this thread one of `namespace`'s.
fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: setns(2) takes no pointer; the descriptor is open as long as `namespace` is borrowed.
    told(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// The device of this thread's namespace; it goes when the descriptor is closed.
fn tun() -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: an ifreq is plain data, for which all zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives until the call has returned; its name ends with a zero.
    told(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &mut request) })?;
    Ok(file)
}

fn told(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
