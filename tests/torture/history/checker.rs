//! Whether some order explains a history: the search of Wing and Gong as Lowe refined it. Changes take effect as late as an answer
//! allows, and no situation is looked at twice.
//!
//! Only changes are a choice. What a request sees it sees as soon as it can, which takes nothing from anybody; and a request that
//! found a directory may also find another one later, as long as it is not known which one it went on with.

use super::super::run::Chance;
use super::model::{Act, Dir, NAMES, Name, Sight, Step, TOP, Thing, Tree, directory};
use super::record::{Answer, Record, Ways};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Situations that a search looks at before it begins anew and tries things in another order: most histories are explained within some
/// hundreds, and a search that has gone wrong early may not come back within millions.
const PATIENCE: usize = 4_000;
/// How often it begins anew.
const ATTEMPTS: u64 = 50;
/// Where the search is to end by having tried everything: to show that something is wrong, and for a smaller piece of that.
const LONG_PATIENCE: usize = 100_000;

/// Why a history cannot be explained.
#[derive(Debug)]
pub enum Wrong {
    /// No order explains the answer of this record.
    Answer(usize),
    /// All answers can be explained, but not together with what lies on the disk at the end.
    End,
    /// There are too many orders to try them all.
    Undecided,
}

/// A history between two moments at which nothing was under way.
pub struct History {
    pub begin: Tree,
    pub records: Vec<Record>,
    /// What lay there at the end, if anybody has looked.
    pub end: Option<Tree>,
}

/// A place within one of the ways to explain a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place {
    way: usize,
    step: usize,
    /// The directory that was reached.
    here: Dir,
    /// The one of the first path, or the one that is being emptied.
    held: Dir,
    /// Which of a list has been seen, a bit each.
    seen: u32,
    /// Directories that are being emptied, and names that have been taken away there.
    reach: Vec<Dir>,
    taken: Vec<(Dir, Name)>,
}

/// How far the oldest request of a line has come that is not done: places of each part, or nothing where a part is explained.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Head {
    /// Which request of its line.
    at: usize,
    parts: Vec<Option<Vec<Place>>>,
}

/// One situation that may have been.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Situation {
    tree: Tree,
    heads: Vec<Head>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Invoked(usize),
    Answered(usize),
}

/// The search through one history.
struct Search<'a> {
    history: &'a History,
    ways: Vec<Vec<Ways>>,
    changes: Vec<bool>,
    /// The records of each line, in order.
    lines: Vec<Vec<usize>>,
    /// Where each record stands: its line, and its place there.
    place: Vec<(usize, usize)>,
    events: Vec<Event>,
    end: Option<Vec<(Vec<Name>, Option<u32>)>>,
    /// Each attempt tries things in another order.
    attempt: u64,
}

impl History {
    /// Finds an order that explains all answers.
    pub fn check(&self) -> Result<(), Wrong> {
        self.checked().0
    }

    /// The same, and how many situations were looked at.
    pub fn checked(&self) -> (Result<(), Wrong>, usize) {
        let mut search = Search::new(self);
        let mut all = 0;
        while search.attempt < ATTEMPTS {
            let (result, looked) = search.run(PATIENCE);
            all += looked;
            if !matches!(result, Err(Wrong::Undecided)) {
                return (result, all);
            }
            search.attempt += 1;
        }
        let (result, looked) = search.run(LONG_PATIENCE);
        (result, all + looked)
    }

    fn fails(&self) -> bool {
        matches!(Search::new(self).run(LONG_PATIENCE).0, Err(Wrong::Answer(_) | Wrong::End))
    }

    /// A small piece of a history that was found wrong, for a person to read.
    pub fn piece(&self, wrong: &Wrong) -> String {
        let (piece, what) = match wrong {
            Wrong::Answer(at) => (self.until(*at), "no order of these explains all of the answers:"),
            Wrong::End => (self.copy(), "no order of these explains the answers and what lies there at the end:"),
            Wrong::Undecided => return "there are too many orders to try them all".into(),
        };
        let piece = piece.without_needless_looks();
        let names = match wrong {
            Wrong::Answer(at) => piece.names_of_looks_and(&self.records[*at]),
            _ => (0..NAMES.len() as Name).collect(),
        };
        let mut lines: Vec<&Record> = piece.records.iter().filter(|record| touches(record, &names)).collect();
        lines.sort_by_key(|record| record.invoked);
        let mut text = format!("{what}\n    at the beginning: {}", told(&piece.begin));
        lines.iter().for_each(|record| text += &format!("\n    {record}"));
        if let Some(end) = &piece.end {
            text += &format!("\n    at the end: {}", told(end));
        }
        match piece.records.len() - lines.len() {
            0 => text,
            more => text + &format!("\n    and {more} changes of other names"),
        }
    }

    fn copy(&self) -> History {
        History { begin: self.begin.clone(), records: self.records.clone(), end: self.end.clone() }
    }

    /// What had happened when this record was answered. Answers that came later are not known yet.
    fn until(&self, last: usize) -> History {
        let end = self.records[last].answered.unwrap_or(u64::MAX);
        let records = self.records.iter().filter(|record| record.invoked <= end).cloned();
        let forget = |mut record: Record| {
            record.answered = record.answered.filter(|at| *at <= end);
            record
        };
        History { begin: self.begin.clone(), records: records.map(forget).collect(), end: None }
    }

    /// Leaves out what only looked, where that is not what is wrong. (A change may not be left out: without it more is wrong than was.)
    fn without_needless_looks(self) -> History {
        let is_change: Vec<bool> = self.records.iter().map(Record::is_change).collect();
        let mut keep = vec![true; self.records.len()];
        let mut size = self.records.len().next_power_of_two();
        while size > 0 {
            for from in (0..self.records.len()).step_by(size) {
                let kept = keep.clone();
                for at in from..(from + size).min(self.records.len()) {
                    keep[at] &= is_change[at];
                }
                if kept != keep && !self.only(&keep).fails() {
                    keep = kept;
                }
            }
            size /= 2;
        }
        self.only(&keep)
    }

    fn only(&self, keep: &[bool]) -> History {
        let records = self.records.iter().zip(keep).filter(|(_, keep)| **keep).map(|(record, _)| record.clone());
        History { begin: self.begin.clone(), records: records.collect(), end: self.end.clone() }
    }

    /// The names that the fault is about: those of this record, and of all that only looked.
    fn names_of_looks_and(&self, wrong: &Record) -> Vec<Name> {
        let looks = self.records.iter().filter(|record| !record.is_change());
        looks.chain([wrong]).flat_map(|record| record.request.path.iter().chain(&record.request.to)).copied().collect()
    }
}

fn touches(record: &Record, names: &[Name]) -> bool {
    let request = &record.request;
    request.path.is_empty() || request.path.iter().chain(&request.to).any(|name| names.contains(name))
}

/// What a tree holds, for a person.
pub fn told(tree: &Tree) -> String {
    Answer::Listed(tree.paths()).to_string()
}

impl<'a> Search<'a> {
    fn new(history: &'a History) -> Self {
        let records = &history.records;
        let mut order: Vec<usize> = (0..records.len()).collect();
        order.sort_by_key(|at| (records[*at].invoked, *at));
        let mut lines: Vec<Vec<usize>> = vec![Vec::new(); records.iter().map(|r| r.line + 1).max().unwrap_or(0)];
        let mut place = vec![(0, 0); records.len()];
        for at in order {
            let mut line = records[at].line;
            if records[at].is_by_itself() {
                line = lines.len(); // it holds up nobody
                lines.push(Vec::new());
            }
            place[at] = (line, lines[line].len());
            lines[line].push(at);
        }
        let mut events = Vec::new();
        for (at, record) in records.iter().enumerate() {
            events.push((record.invoked, 0, place[at].1, Event::Invoked(at)));
            events.extend(record.answered.map(|answered| (answered, 1, place[at].1, Event::Answered(at))));
        }
        events.sort();
        Search {
            history,
            ways: records.iter().map(Record::parts).collect(),
            changes: records.iter().map(Record::is_change).collect(),
            lines,
            place,
            events: events.into_iter().map(|(.., event)| event).collect(),
            end: history.end.as_ref().map(Tree::paths),
            attempt: 0,
        }
    }

    /// Finds an order; and how many situations were looked at.
    fn run(&self, patience: usize) -> (Result<(), Wrong>, usize) {
        let begin = Situation { tree: self.history.begin.clone(), heads: vec![Head::default(); self.lines.len()] };
        let mut left = vec![(0, begin)];
        let (mut known, mut furthest, mut looked) = (HashSet::new(), 0, 0);
        while let Some((at, situation)) = left.pop() {
            looked += 1;
            let Some((at, situation)) = self.go_on(at, situation) else { return (Ok(()), looked) };
            furthest = furthest.max(at);
            if !known.insert(hashed(at, &situation)) {
                continue;
            }
            if known.len() > patience {
                return (Err(Wrong::Undecided), looked);
            }
            for line in self.by_urgency(at, &situation) {
                left.extend(self.changed(at, &situation, line).into_iter().map(|next| (at, next)));
            }
        }
        let wrong = match self.events.get(furthest) {
            Some(Event::Answered(record)) => Wrong::Answer(*record),
            _ => Wrong::End,
        };
        (Err(wrong), looked)
    }

    /// Goes on to an answer that this situation does not explain yet; `None` if all is explained.
    fn go_on(&self, mut at: usize, mut situation: Situation) -> Option<(usize, Situation)> {
        while let Some(event) = self.events.get(at) {
            match *event {
                Event::Invoked(record) if situation.heads[self.place[record].0].at == self.place[record].1 => {
                    self.begin(&mut situation, self.place[record].0, at);
                }
                Event::Answered(record) if situation.heads[self.place[record].0].at <= self.place[record].1 => {
                    return Some((at, situation));
                }
                _ => {}
            }
            at += 1;
        }
        match &self.end {
            Some(end) if situation.tree.paths() != *end => Some((at, situation)),
            _ => None,
        }
    }

    /// The lines that may go on, the one whose answer is due first at the end: it is tried first. Later attempts are less exact.
    fn by_urgency(&self, at: usize, situation: &Situation) -> Vec<usize> {
        let due = |line: &usize| {
            let record = self.lines[*line][situation.heads[*line].at];
            let answered = self.history.records[record].answered.unwrap_or(u64::MAX);
            std::cmp::Reverse(answered.saturating_add(self.whim(record)))
        };
        let mut lines: Vec<usize> =
            (0..self.lines.len()).filter(|line| self.current(situation, *line, at).is_some()).collect();
        lines.sort_by_cached_key(due);
        lines
    }

    /// By how many nanoseconds this attempt mistakes when a record was answered: up to a quarter of a second.
    fn whim(&self, record: usize) -> u64 {
        match self.attempt {
            0 => 0,
            attempt => Chance::of_numbers(attempt, record as u64).below(1_000_000 << (attempt % 9)),
        }
    }

    /// The record that a line is at, if it has been invoked by then.
    fn current(&self, situation: &Situation, line: usize, at: usize) -> Option<usize> {
        let record = *self.lines[line].get(situation.heads[line].at)?;
        let invoked = match self.events.get(at) {
            Some(Event::Invoked(now) | Event::Answered(now)) => {
                let now = match self.events[at] {
                    Event::Invoked(_) => self.history.records[*now].invoked,
                    Event::Answered(_) => self.history.records[*now].answered.unwrap_or(u64::MAX),
                };
                self.history.records[record].invoked <= now
            }
            None => true,
        };
        invoked.then_some(record)
    }

    /// Begins with the request that a line is at, and goes on to the next where it is done at once.
    fn begin(&self, situation: &mut Situation, line: usize, at: usize) {
        while let Some(record) = self.current(situation, line, at) {
            let ways = &self.ways[record];
            let start = |ways: &Ways| Some((0..ways.len()).map(Place::first).collect());
            situation.heads[line].parts = ways.iter().map(start).collect();
            if !self.look(situation, line, record) {
                return;
            }
            situation.heads[line].at += 1;
        }
        situation.heads[line].parts = Vec::new();
    }

    /// Has a request see what it can; whether that explains it.
    fn look(&self, situation: &mut Situation, line: usize, record: usize) -> bool {
        let mut done = true;
        for (part, ways) in situation.heads[line].parts.iter_mut().zip(&self.ways[record]) {
            let Some(places) = part else { continue };
            if advance(places, ways, &situation.tree) && !self.changes[record] {
                *part = None;
            } else {
                done = false; // what may change something before its end is not done as soon as it can be: that is a choice
            }
        }
        done
    }

    /// All situations that follow from one change by a line.
    fn changed(&self, at: usize, situation: &Situation, line: usize) -> Vec<Situation> {
        let Some(record) = self.current(situation, line, at).filter(|record| self.changes[*record]) else {
            return Vec::new();
        };
        let Some(Some(places)) = situation.heads[line].parts.first() else { return Vec::new() };
        let ways = &self.ways[record][0];
        let mut found = Vec::new();
        for place in places {
            let mut changes = Vec::new();
            change(place, &ways[place.way], &situation.tree, &mut changes);
            found.extend(changes.into_iter().map(|(tree, place)| self.after(at, situation, line, tree, place)));
        }
        found
    }

    /// The situation after a change: everybody looks again.
    fn after(&self, at: usize, before: &Situation, line: usize, tree: Tree, place: Option<Place>) -> Situation {
        let mut situation = Situation { tree, heads: before.heads.clone() };
        match place {
            Some(place) => situation.heads[line].parts = vec![Some(vec![place])],
            None => {
                situation.heads[line].at += 1;
                self.begin(&mut situation, line, at);
            }
        }
        for line in 0..self.lines.len() {
            if let Some(record) = self.current(&situation, line, at)
                && self.look(&mut situation, line, record)
            {
                situation.heads[line].at += 1;
                self.begin(&mut situation, line, at);
            }
        }
        situation
    }
}

fn hashed(at: usize, situation: &Situation) -> u64 {
    let mut hasher = DefaultHasher::new(); // with fixed keys: the same in each run
    (at, situation).hash(&mut hasher);
    hasher.finish()
}

impl Place {
    fn first(way: usize) -> Place {
        Place { way, step: 0, here: TOP, held: TOP, seen: 0, reach: Vec::new(), taken: Vec::new() }
    }

    fn next(&self) -> Place {
        Place { step: self.step + 1, seen: 0, ..self.clone() }
    }

    /// Whether it is there already: who has been there for longer has seen more.
    fn is_as_far_as(&self, next: &Place) -> bool {
        let key = |place: &Place| (place.way, place.step, place.here, place.held);
        key(self) == key(next)
    }
}

/// Adds all places that can be reached by looking; whether one of them is an end.
fn advance(places: &mut Vec<Place>, ways: &Ways, tree: &Tree) -> bool {
    let mut at = 0;
    while at < places.len() {
        let way = &ways[places[at].way];
        if let Some(next) = looked(&mut places[at], way, tree)
            && !places.iter().any(|known| known.is_as_far_as(&next))
        {
            places.push(next);
        }
        at += 1;
    }
    places.sort(); // the order in which they were found is of no importance, and must not tell situations apart
    places.iter().any(|place| place.step == ways[place.way].len())
}

/// The place that follows if what is seen now allows it.
fn looked(place: &mut Place, way: &[Step], tree: &Tree) -> Option<Place> {
    let entered = |here: Dir| Place { here, ..place.next() };
    match way.get(place.step)? {
        Step::Enter(name) => directory(tree, place.here, *name).ok().map(entered),
        Step::Stuck(name, code) => (directory(tree, place.here, *name) == Err(*code)).then(|| place.next()),
        Step::Hold => Some(Place { held: place.here, here: TOP, ..place.next() }),
        Step::See(name, sight) => sight.is(tree.get(place.here, *name)).then(|| place.next()),
        Step::List(rows) => see_rows(place, rows, tree),
        Step::Refuse(act, code) => is_refused(*act, code, place, tree).then(|| place.next()),
        Step::Empty(name) => {
            let held = directory(tree, place.here, *name).ok()?;
            Some(Place { held, reach: vec![held], ..place.next() })
        }
        Step::Clear => {
            reach_further(place, tree);
            None
        }
        Step::Do(_) | Step::Removed(..) | Step::Failed(..) | Step::Refilled => None,
    }
}

fn see_rows(place: &mut Place, rows: &[(Name, Sight)], tree: &Tree) -> Option<Place> {
    for (bit, (name, sight)) in rows.iter().enumerate() {
        if sight.is(tree.get(place.here, *name)) {
            place.seen |= 1 << bit;
        }
    }
    (place.seen == (1 << rows.len()) - 1).then(|| place.next())
}

fn is_refused(act: Act, code: &str, place: &Place, tree: &Tree) -> bool {
    act.perform(&mut tree.clone(), place.here, place.held) == Err(known(code))
}

fn known(code: &str) -> &'static str {
    super::record::CODES.into_iter().find(|known| *known == code).unwrap_or("")
}

/// A removal goes down into directories that it sees.
fn reach_further(place: &mut Place, tree: &Tree) {
    let mut at = 0;
    while at < place.reach.len() {
        for (_, thing) in tree.inside(place.reach[at]) {
            if let Thing::Dir(dir) = thing
                && !place.reach.contains(&dir)
            {
                place.reach.push(dir);
            }
        }
        at += 1;
    }
    place.reach[1..].sort();
}

/// All changes that a request may make at its place: the tree afterwards, and where the request is then; `None` if it is done.
fn change(place: &Place, way: &[Step], tree: &Tree, found: &mut Vec<(Tree, Option<Place>)>) {
    let Some(step) = way.get(place.step) else { return found.push((tree.clone(), None)) };
    match step {
        Step::Do(act) => {
            let mut tree = tree.clone();
            if act.perform(&mut tree, place.here, place.held).is_ok() {
                found.push((tree, None));
            }
        }
        Step::Clear => {
            change(&place.next(), way, tree, found);
            clear(place, tree, found);
        }
        Step::Removed(name, count) => {
            let mut tree = tree.clone();
            let act = Act::Remove { name: *name };
            if place.taken.len() as u64 + 1 == *count && act.perform(&mut tree, place.here, TOP).is_ok() {
                found.push((tree, None));
            }
        }
        Step::Failed(act, code) if is_refused(*act, code, place, tree) => found.push((tree.clone(), None)),
        Step::Refilled if place.reach.iter().any(|dir| tree.inside(*dir).next().is_some()) => {
            found.push((tree.clone(), None));
        }
        _ => {}
    }
}

/// Takes away one name below a directory that is being emptied, each at most once.
fn clear(place: &Place, tree: &Tree, found: &mut Vec<(Tree, Option<Place>)>) {
    for dir in &place.reach {
        for (name, thing) in tree.inside(*dir) {
            let is_full = matches!(thing, Thing::Dir(below) if tree.inside(below).next().is_some());
            if is_full || place.taken.contains(&(*dir, name)) {
                continue;
            }
            let (mut tree, mut place) = (tree.clone(), place.clone());
            tree.set(*dir, name, None);
            place.taken.push((*dir, name));
            place.taken.sort();
            found.push((tree, Some(place)));
        }
    }
}
