use super::account;
use super::finding::Chart;
use crate::client::display::output::Volume;
use crate::client::display::output::tests::kept;
use crate::client::fake::{Fake, Script};
use crate::client::remote::Remote;
use crate::client::stop::Stop;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the doctor says of a server whose answer to PING is this.
fn told(pong: impl Fn(u64) -> String + Send + 'static) -> String {
    let script: Script = Box::new(move |peer| {
        assert_eq!(peer.line(), "PING");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        peer.say(pong(now));
    });
    let fake = Fake::start(0, vec![script]);
    let mut remote = Remote::connect(&fake.target, &Stop::deaf()).unwrap();
    let (output, out, _) = kept(false, Volume::Normal);
    let mut chart = Chart::new(&output);
    account::clock_and_versions(&mut chart, &mut remote).unwrap();
    drop(remote);
    fake.end();
    out.text()
}

#[test]
fn a_clock_that_is_off_is_told_with_its_direction() {
    let ahead = told(|now| format!("OK pong time={} version=9.9.9\n", now + 7 * 3600));
    assert!(
        ahead.starts_with("warning  clock") && ahead.contains("7.0 hours ahead") && ahead.contains("NTP"),
        "{ahead}"
    );
    assert!(ahead.contains("server 9.9.9"), "{ahead}");
    let behind = told(|now| format!("OK pong time={}.000000000\n", now - 600));
    assert!(behind.contains("10 minutes behind"), "{behind}");
    let right = told(|now| format!("OK pong time={now}\n"));
    assert!(right.starts_with("ok       clock"), "{right}");
}

#[test]
fn a_server_that_tells_neither_clock_nor_version_is_well() {
    let text = told(|_| "OK pong\n".into());
    assert!(text.contains("ok       clock          the server does not tell"), "{text}");
    assert!(text.contains("server does not tell"), "{text}");
}
