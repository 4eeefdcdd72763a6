//! One line of an audit (docs/AUDIT.md), and what a line may be instead.

use super::when;
use crate::proto::limits;
use serde::Deserialize;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The version of the schema that is understood.
const VERSION: u32 = 1;

/// The fields that a report looks at. What a line leaves out is empty, zero or false. Texts are borrowed from the line where they hold
/// no escapes, and never an `Option`: serde would copy them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // docs/AUDIT.md describes them
pub struct Line<'a> {
    pub v: u32,
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    #[serde(borrow)]
    pub user: Cow<'a, str>,
    #[serde(borrow)]
    pub account: Cow<'a, str>,
    #[serde(borrow)]
    pub peer: Cow<'a, str>,
    #[serde(borrow)]
    pub verb: Cow<'a, str>,
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    #[serde(borrow)]
    pub result: Cow<'a, str>,
    #[serde(borrow)]
    pub text: Cow<'a, str>,
    pub bytes: u64,
    pub seconds: f64,
    pub resumed: bool,
    pub lines: u64,
    /// Of `time`, in microseconds since 1970.
    #[serde(skip)]
    pub at: i64,
}

/// What a line is that is none of this schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Odd {
    /// No JSON, or with fields that hold something else than they should.
    Broken,
    /// An object, but not of an audit.
    Foreign,
    /// Of a later version of the schema.
    Newer,
    /// Longer than any line of an audit.
    TooLong,
    /// The last one of a file, without its end: it is being written.
    Unfinished,
}

impl Odd {
    /// All of them.
    pub const ALL: [Odd; 5] = [Odd::Broken, Odd::Foreign, Odd::Newer, Odd::TooLong, Odd::Unfinished];

    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Odd::Broken => "broken",
            Odd::Foreign => "foreign",
            Odd::Newer => "newer",
            Odd::TooLong => "too long",
            Odd::Unfinished => "unfinished",
        }
    }

    /// What it means.
    pub fn meaning(self) -> &'static str {
        match self {
            Odd::Broken => "no JSON object, or fields of the wrong kind",
            Odd::Foreign => "JSON, but not of an audit",
            Odd::Newer => "of a later version of the audit: a later dfos-forkd understands them",
            Odd::TooLong => "longer than 64 KiB",
            Odd::Unfinished => "the last of a file that is being written, or was cut",
        }
    }
}

/// What is asked of a line whatever its version.
#[derive(Deserialize)]
struct Version {
    v: u64,
}

impl<'a> Line<'a> {
    /// Reads one line, without its ending.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Odd> {
        if bytes.len() > limits::AUDIT_LINE {
            return Err(Odd::TooLong);
        }
        // serde would take an array for the fields in their order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(Odd::Broken);
        }
        let newer = || serde_json::from_slice::<Version>(bytes).is_ok_and(|version| version.v > VERSION.into());
        let mut line: Line =
            serde_json::from_slice(bytes).map_err(|_| if newer() { Odd::Newer } else { Odd::Broken })?;
        match line.v {
            VERSION => {}
            0 => return Err(Odd::Foreign),
            _ => return Err(Odd::Newer),
        }
        if line.event.is_empty() || line.time.is_empty() {
            return Err(Odd::Foreign);
        }
        line.at = when::stamp(&line.time).ok_or(Odd::Broken)?;
        if !line.seconds.is_finite() || line.seconds < 0.0 {
            return Err(Odd::Broken);
        }
        Ok(line)
    }

    /// How long it took, in microseconds.
    pub fn micros(&self) -> u64 {
        (self.seconds * 1e6).round() as u64 // a cast of a float stops at the ends
    }

    /// Bytes a second, where that can be told.
    pub fn rate(&self) -> Option<u64> {
        (self.bytes > 0 && self.seconds > 0.0).then(|| (self.bytes as f64 / self.seconds).round() as u64)
    }

    /// Where it came from, without the port. Of IPv6 the /64: one machine has all of its addresses.
    pub fn origin(&self) -> Cow<'_, str> {
        let ip = match self.peer.parse::<SocketAddr>() {
            Ok(address) => address.ip().to_canonical(),
            Err(_) => match self.peer.parse::<IpAddr>() {
                Ok(ip) => ip.to_canonical(), // of a connection that was turned away
                Err(_) => return Cow::Borrowed(&self.peer),
            },
        };
        Cow::Owned(match ip {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("{}/64", Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A line as the server writes them.
    pub const UPLOAD: &str = r#"{"v":1,"time":"2026-11-21T18:20:01.500000Z","event":"request","session":"6920a1b3-17","pid":4711,"peer":"192.0.2.7:50122","listener":"tls://0.0.0.0:9000","tls":"1.3","user":"alice","verb":"UPLOAD","path":"a\"b","size":3000000,"bytes":2000000,"seconds":0.5,"rate":4000000,"resumed":true,"result":"ok","sha256":"00"}"#;

    #[test]
    fn what_stands_in_a_line_is_read_and_what_is_unknown_passed_over() {
        let text = UPLOAD.replace("\"pid\":4711", "\"novel\":[{\"deep\":null}]");
        let line = Line::parse(text.as_bytes()).unwrap();
        assert_eq!((&*line.user, &*line.path, line.bytes, line.micros()), ("alice", "a\"b", 2_000_000, 500_000));
        assert!(line.resumed && matches!(line.user, Cow::Borrowed(_)));
        assert_eq!((line.at, line.rate()), (1_795_285_201_500_000, Some(4_000_000)));
    }

    #[test]
    fn what_is_no_line_of_an_audit_has_its_name() {
        for (text, odd) in [
            ("", Odd::Broken),
            ("[1,\"2026-11-21T18:20:01.500000Z\",\"connect\"]", Odd::Broken),
            ("{\"v\":1", Odd::Broken),
            ("{}", Odd::Foreign),
            ("{\"time\":\"2026-11-21T18:20:01Z\",\"level\":\"info\"}", Odd::Foreign),
            ("{\"v\":1,\"event\":\"connect\"}", Odd::Foreign),
            ("{\"v\":1,\"event\":\"connect\",\"time\":\"yesterday\"}", Odd::Broken),
            ("{\"v\":1,\"event\":\"connect\",\"time\":\"2026-11-21T18:20:01Z\",\"bytes\":-1}", Odd::Broken),
            ("{\"v\":1,\"event\":\"connect\",\"time\":\"2026-11-21T18:20:01Z\",\"seconds\":-1}", Odd::Broken),
            ("{\"v\":2,\"event\":\"connect\",\"time\":\"2026-11-21T18:20:01Z\"}", Odd::Newer),
            ("{\"v\":2,\"event\":{\"name\":\"connect\"},\"time\":17}", Odd::Newer),
        ] {
            assert_eq!(Line::parse(text.as_bytes()).unwrap_err(), odd, "{text}");
        }
        assert_eq!(Line::parse(&[b' '; limits::AUDIT_LINE + 1]).unwrap_err(), Odd::TooLong);
        assert_eq!(Line::parse(b"{\"v\":1,\"event\":\"\xff\"}").unwrap_err(), Odd::Broken);
    }

    #[test]
    fn addresses_stand_without_ports_and_those_of_one_machine_are_one() {
        for (peer, origin) in [
            ("192.0.2.7:50122", "192.0.2.7"),
            ("192.0.2.7", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:1", "192.0.2.7"),
            ("[2001:db8::7:8:9]:50122", "2001:db8::/64"),
            ("uid:1000", "uid:1000"),
            ("<b>", "<b>"),
        ] {
            assert_eq!(Line { peer: peer.into(), ..Line::default() }.origin(), origin);
        }
    }

    proptest! {
        #[test]
        fn no_change_of_a_line_makes_the_reader_panic(at in 0..UPLOAD.len(), cut in 0..40usize, put in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut bytes = UPLOAD.as_bytes().to_vec();
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, put);
            if let Ok(line) = Line::parse(&bytes) {
                let _ = (line.micros(), line.rate(), line.origin().into_owned());
            }
        }
    }
}
