//! The sequential model: what each request does to a tree, one step at a time, and why it would be refused.
//!
//! What DFOS promises of many clients at once (docs/PROTOCOL.md, "Many at once") is what stands here. A path is followed name by name;
//! the last name is changed, or looked at, in one step, in the directory that was found, wherever that one is by then. RENAME follows
//! both paths and then is one step. A listing looks at each name at a moment of its own. A recursive removal takes names away one by
//! one, below the directory that it has found, and then that name.

/// A name by its number among [`NAMES`].
pub type Name = u8;

/// All names there are: the first three at the top, the others below.
pub const NAMES: [&str; 5] = ["a", "b", "c", "x", "y"];

/// A directory by the number of the request that made it.
pub type Dir = u32;

/// The user's own directory.
pub const TOP: Dir = 0;

/// What a name holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Thing {
    /// A file with the content of this upload.
    File(u32),
    /// A directory.
    Dir(Dir),
}

/// Codes of refusals.
pub type Code = &'static str;

/// A tree: who lies where. A directory that no name holds has been removed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Tree(Vec<((Dir, Name), Thing)>);

impl Tree {
    /// What a name holds.
    pub fn get(&self, dir: Dir, name: Name) -> Option<Thing> {
        let at = self.0.binary_search_by_key(&(dir, name), |(slot, _)| *slot).ok()?;
        Some(self.0[at].1)
    }

    /// Has a name hold something, or nothing.
    pub fn set(&mut self, dir: Dir, name: Name, thing: Option<Thing>) {
        match (self.0.binary_search_by_key(&(dir, name), |(slot, _)| *slot), thing) {
            (Ok(at), Some(thing)) => self.0[at].1 = thing,
            (Ok(at), None) => drop(self.0.remove(at)),
            (Err(at), Some(thing)) => self.0.insert(at, ((dir, name), thing)),
            (Err(_), None) => {}
        }
    }

    /// What lies in a directory.
    pub fn inside(&self, dir: Dir) -> impl Iterator<Item = (Name, Thing)> {
        self.0.iter().filter(move |((of, _), _)| *of == dir).map(|((_, name), thing)| (*name, *thing))
    }

    fn is_empty(&self, dir: Dir) -> bool {
        self.inside(dir).next().is_none()
    }

    /// Whether it has been removed.
    fn is_gone(&self, dir: Dir) -> bool {
        dir != TOP && self.above(dir).is_none()
    }

    fn above(&self, dir: Dir) -> Option<Dir> {
        self.0.iter().find(|(_, thing)| *thing == Thing::Dir(dir)).map(|((above, _), _)| *above)
    }

    /// Whether `dir` is `above`, or lies in it at any depth.
    fn is_within(&self, dir: Dir, above: Dir) -> bool {
        let mut here = Some(dir);
        while let Some(dir) = here {
            if dir == above {
                return true;
            }
            here = self.above(dir);
        }
        false
    }

    /// All paths, with what they hold; directories without their numbers.
    pub fn paths(&self) -> Vec<(Vec<Name>, Option<u32>)> {
        let mut found = Vec::new();
        let mut left = vec![(TOP, Vec::new())];
        while let Some((dir, path)) = left.pop() {
            for (name, thing) in self.inside(dir) {
                let path = [path.as_slice(), &[name]].concat();
                match thing {
                    Thing::File(version) => found.push((path, Some(version))),
                    Thing::Dir(below) => {
                        found.push((path.clone(), None));
                        left.push((below, path));
                    }
                }
            }
        }
        found.sort();
        found
    }
}

/// What a request does in its last step, with the names that it does it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// UPLOAD takes its name; with `new` only one that is free.
    Put { name: Name, version: u32, new: bool },
    /// DOWNLOAD, DIGEST.
    Read { name: Name },
    /// STAT.
    Look { name: Name },
    /// DELETE.
    Delete { name: Name },
    /// MKDIR.
    Make { name: Name, dir: Dir },
    /// RMDIR.
    Remove { name: Name },
    /// RENAME, from the directory that is held to the one reached.
    Rename { from: Name, to: Name, replace: bool },
}

impl Act {
    /// Does it in the directory `here`, with the directory of the first path in `held`; or says why not.
    pub fn perform(self, tree: &mut Tree, here: Dir, held: Dir) -> Result<(), Code> {
        match self {
            Act::Put { name, version, new } => {
                may_put(tree, here, name, new)?;
                tree.set(here, name, Some(Thing::File(version)));
            }
            Act::Read { name } => drop(file(tree, here, name)?),
            Act::Look { name } => drop(tree.get(here, name).ok_or("not-found")?),
            Act::Delete { name } => {
                file(tree, here, name)?;
                tree.set(here, name, None);
            }
            Act::Make { name, dir } => {
                may_make(tree, here, name)?;
                tree.set(here, name, Some(Thing::Dir(dir)));
            }
            Act::Remove { name } => {
                match directory(tree, here, name)? {
                    dir if tree.is_empty(dir) => tree.set(here, name, None),
                    _ => return Err("not-empty"),
                };
            }
            Act::Rename { from, to, replace } => rename(tree, (held, from), (here, to), replace)?,
        }
        Ok(())
    }
}

fn may_put(tree: &Tree, here: Dir, name: Name, new: bool) -> Result<(), Code> {
    match tree.get(here, name) {
        _ if tree.is_gone(here) => Err("not-found"),
        Some(Thing::Dir(_)) => Err("is-directory"),
        Some(Thing::File(_)) if new => Err("exists"),
        _ => Ok(()),
    }
}

fn may_make(tree: &Tree, here: Dir, name: Name) -> Result<(), Code> {
    match tree.get(here, name) {
        _ if tree.is_gone(here) => Err("not-found"),
        Some(_) => Err("exists"),
        None => Ok(()),
    }
}

fn file(tree: &Tree, here: Dir, name: Name) -> Result<u32, Code> {
    match tree.get(here, name) {
        None => Err("not-found"),
        Some(Thing::Dir(_)) => Err("is-directory"),
        Some(Thing::File(version)) => Ok(version),
    }
}

/// The directory that a name holds.
pub fn directory(tree: &Tree, here: Dir, name: Name) -> Result<Dir, Code> {
    match tree.get(here, name) {
        None => Err("not-found"),
        Some(Thing::File(_)) => Err("not-directory"),
        Some(Thing::Dir(dir)) => Ok(dir),
    }
}

/// As rename(2) does it, in the order in which it looks.
fn rename(tree: &mut Tree, from: (Dir, Name), to: (Dir, Name), replace: bool) -> Result<(), Code> {
    let moved = tree.get(from.0, from.1).ok_or("not-found")?;
    if tree.is_gone(to.0) {
        return Err("not-found");
    }
    let there = tree.get(to.0, to.1);
    if there.is_some() && !replace {
        return Err("exists");
    }
    if let Thing::Dir(dir) = moved
        && tree.is_within(to.0, dir)
    {
        return Err("bad-path"); // into itself
    }
    match (moved, there) {
        (_, Some(Thing::Dir(dir))) if tree.is_within(from.0, dir) => return Err("not-empty"), // onto one that it lies in
        _ if from == to => return Ok(()),
        (Thing::File(_), Some(Thing::Dir(_))) => return Err("is-directory"),
        (Thing::Dir(_), Some(Thing::File(_))) => return Err("not-directory"),
        (Thing::Dir(_), Some(Thing::Dir(dir))) if !tree.is_empty(dir) => return Err("not-empty"),
        _ => {}
    }
    tree.set(from.0, from.1, None);
    tree.set(to.0, to.1, Some(moved));
    Ok(())
}

/// What somebody saw under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Nothing.
    Nothing,
    /// A directory.
    Dir,
    /// Nothing, or a file: no directory to go into.
    NoDir,
    /// A file with the content of this upload.
    File(u32),
}

impl Sight {
    /// Whether it is what the name holds.
    pub fn is(self, thing: Option<Thing>) -> bool {
        match self {
            Sight::Nothing => thing.is_none(),
            Sight::Dir => matches!(thing, Some(Thing::Dir(_))),
            Sight::NoDir => !matches!(thing, Some(Thing::Dir(_))),
            Sight::File(version) => thing == Some(Thing::File(version)),
        }
    }
}

/// One step of a request that is known to have been answered in a certain way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Goes into the directory of this name.
    Enter(Name),
    /// This name was no way down, for this reason.
    Stuck(Name, Code),
    /// Holds the directory that was reached, and begins again at the top: with the second path of RENAME.
    Hold,
    /// Saw this.
    See(Name, Sight),
    /// Saw all of these, each at a moment of its own.
    List(Vec<(Name, Sight)>),
    /// Would have done this, and was refused.
    Refuse(Act, Code),
    /// Did this.
    Do(Act),
    /// Begins to empty the directory of this name.
    Empty(Name),
    /// Takes away any number of names below the directory that is being emptied.
    Clear,
    /// Has taken away so many names with the last one.
    Removed(Name, u64),
    /// Has failed after that, for this reason.
    Failed(Act, Code),
    /// Has failed since a name came into the directory that was being emptied.
    Refilled,
}

impl Step {
    /// Whether it changes something, or decides that nothing more will be changed.
    pub fn is_change(&self) -> bool {
        matches!(self, Step::Do(_) | Step::Clear | Step::Removed(..) | Step::Failed(..) | Step::Refilled)
    }
}
