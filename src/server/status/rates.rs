//! How fast transfers are: since their requests, or between two looks.

use crate::server::desk::answer::{Session, Status, Work};
use std::collections::HashMap;

/// Bytes a second of each session that transfers something, by its name.
pub type Rates = HashMap<String, u64>;

/// Since the requests.
pub fn averages(status: &Status) -> Rates {
    transfers(status).map(|(session, work)| (session.session.clone(), work.rate)).collect()
}

/// Between two looks; since the request for what has begun after the first.
pub fn between(before: &Status, now: &Status) -> Rates {
    let known: HashMap<&str, &Work> =
        transfers(before).map(|(session, work)| (session.session.as_str(), work)).collect();
    let passed = now.uptime - before.uptime;
    let rate = |session: &Session, work: &Work| match known.get(session.session.as_str()) {
        // Of the same request: it has taken longer by just that time.
        Some(old) if passed > 0.0 && work.taken >= passed && work.done >= old.done => {
            ((work.done - old.done) as f64 / passed) as u64
        }
        _ => work.rate,
    };
    transfers(now).map(|(session, work)| (session.session.clone(), rate(session, work))).collect()
}

fn transfers(status: &Status) -> impl Iterator<Item = (&Session, &Work)> {
    let at_work = status.sessions.iter().filter_map(|session| Some((session, session.work.as_ref()?)));
    at_work.filter(|(_, work)| work.size.is_some() || work.done > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::status::table::tests::{session, status};

    #[test]
    fn a_transfer_that_went_on_is_measured_between_the_looks_and_a_new_one_since_it_began() {
        let look = |uptime, taken, done| {
            let mut one = session("6920a1b3-1", "alice", "busy");
            let rate = (done as f64 / taken) as u64;
            let work = Work { verb: "UPLOAD".into(), path: "x".into(), taken, from: 0, done, size: None, rate };
            one.work = Some(work);
            let mut status = status(vec![one, session("6920a1b3-2", "bob", "idle")]);
            status.uptime = uptime;
            status
        };
        let first = look(100.0, 10.0, 1000);
        assert_eq!(averages(&first).into_iter().collect::<Vec<_>>(), [("6920a1b3-1".into(), 100)]);
        assert_eq!(between(&first, &look(102.0, 12.0, 5000))["6920a1b3-1"], 2000);
        assert_eq!(between(&first, &look(102.0, 1.0, 3000))["6920a1b3-1"], 3000, "another request");
        assert_eq!(between(&first, &look(100.0, 10.0, 1000))["6920a1b3-1"], 100, "no time has passed");
    }
}
