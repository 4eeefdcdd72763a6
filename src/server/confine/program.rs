//! A list of system calls as the program that the kernel runs (seccomp(2), BPF).
//!
//! The library asks for one number after the other. But the kernel runs a new filter for every call that there is, to know which of them
//! it need not ask about again, and that took longer than all else that confines a session. So here the numbers stand in blocks, and
//! a call is looked for in its own block alone. What is tested of arguments, and what is said to another processor's calls, remains the
//! library's.

use libc::{BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch, sock_filter};
use std::collections::BTreeMap;
use std::io;

/// Calls, and of each what must hold: one of the rules, or nothing if there are none.
pub type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Calls in a block: some ten blocks of as many.
const BLOCK: usize = 8;

/// Allows what is listed and refuses all else with EPERM; but the call `unknown` fails as if the kernel did not have it.
pub fn allow(listed: Rules, unknown: i64) -> io::Result<BpfProgram> {
    let refuse = errno(libc::EPERM);
    let missing = errno(libc::ENOSYS);
    let mut program = prologue(&refuse)?;
    program.push(statement(BPF_LD | BPF_W | BPF_ABS, 0)); // the call's number stands first in struct seccomp_data
    program.extend(call(unknown, vec![answer(&missing)])?);
    let mut listed = listed.into_iter().peekable();
    while listed.peek().is_some() {
        let mut block = BpfProgram::new();
        for (number, rules) in listed.by_ref().take(BLOCK) {
            block.extend(call(number, tested(rules, &refuse))?);
        }
        block.push(answer(&refuse));
        if let Some((next, _)) = listed.peek() {
            program.push(jump(BPF_JGE, *next, 0, 1)?);
            program.push(statement(BPF_JMP | BPF_JA, length(&block)?));
        }
        program.extend(block);
    }
    Ok(program)
}

/// Refuses what is listed with EPERM, whatever its arguments, and allows all else.
pub fn refuse(listed: impl Iterator<Item = i64>) -> io::Result<BpfProgram> {
    let refuse = errno(libc::EPERM);
    let rules = listed.map(|number| (number, Vec::new())).collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, processor()?).map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}

/// The library's beginning, which ends whoever calls as another processor does.
fn prologue(refuse: &SeccompAction) -> io::Result<BpfProgram> {
    let nothing = SeccompFilter::new(Rules::new(), refuse.clone(), SeccompAction::Allow, processor()?);
    let mut program: BpfProgram = nothing.and_then(TryInto::try_into).map_err(io::Error::other)?;
    program.pop(); // its answer to every call: what follows gives others
    Ok(program)
}

/// `then` for the call of this number; any other goes on after it.
fn call(number: i64, then: BpfProgram) -> io::Result<BpfProgram> {
    let over = u8::try_from(then.len()).map_err(io::Error::other)?;
    Ok([vec![jump(BPF_JEQ, number, 0, over)?], then].concat())
}

/// Allows what one of the rules allows.
fn tested(rules: Vec<SeccompRule>, refuse: &SeccompAction) -> BpfProgram {
    let allow = answer(&SeccompAction::Allow);
    if rules.is_empty() {
        return vec![allow];
    }
    // The library's code for a rule goes on behind one instruction more where the rule does not hold.
    let each = rules.into_iter().flat_map(|rule| BpfProgram::from(rule).into_iter().chain([allow.clone()]));
    each.chain([answer(refuse)]).collect()
}

fn answer(action: &SeccompAction) -> sock_filter {
    statement(BPF_RET | BPF_K, action.clone().into())
}

fn jump(compare: u32, number: i64, yes: u8, no: u8) -> io::Result<sock_filter> {
    let k = u32::try_from(number).map_err(io::Error::other)?;
    Ok(sock_filter { jt: yes, jf: no, ..statement(BPF_JMP | compare | BPF_K, k) })
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn length(program: &BpfProgram) -> io::Result<u32> {
    u32::try_from(program.len()).map_err(io::Error::other)
}

fn processor() -> io::Result<TargetArch> {
    std::env::consts::ARCH.try_into().map_err(io::Error::other)
}

fn errno(errno: i32) -> SeccompAction {
    SeccompAction::Errno(errno.unsigned_abs())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::server::confine::Access;
    use crate::server::confine::seccomp::{ALWAYS, CHANGES, at_first, ended, rules};

    /// What struct seccomp_data holds, in words of 32 bits.
    fn data(arch: u32, number: i64, arguments: [u64; 6]) -> [u32; 16] {
        let mut words = [0; 16];
        (words[0], words[1]) = (number as u32, arch);
        for (at, argument) in arguments.iter().enumerate() {
            (words[4 + 2 * at], words[5 + 2 * at]) = (*argument as u32, (*argument >> 32) as u32);
        }
        words
    }

    /// Runs a program as the kernel does: what it answers, and after how many instructions.
    fn run(program: &BpfProgram, data: &[u32; 16]) -> (u32, usize) {
        use libc::{BPF_ALU, BPF_AND, BPF_JGT};
        let (mut at, mut a) = (0, 0);
        for count in 1.. {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let mut branch = |yes: bool| at += usize::from(if yes { jt } else { jf });
            match u32::from(code) {
                c if c == BPF_LD | BPF_W | BPF_ABS => a = data[k as usize / 4],
                c if c == BPF_ALU | BPF_AND | BPF_K => a &= k,
                c if c == BPF_JMP | BPF_JA => at += k as usize,
                c if c == BPF_JMP | BPF_JEQ | BPF_K => branch(a == k),
                c if c == BPF_JMP | BPF_JGE | BPF_K => branch(a >= k),
                c if c == BPF_JMP | BPF_JGT | BPF_K => branch(a > k),
                c if c == BPF_RET | BPF_K => return (k, count),
                other => panic!("{other:#x}"),
            }
        }
        unreachable!()
    }

    /// What a program answers to a call of this processor's with these arguments, and zeros after them.
    pub fn answer_to(program: &BpfProgram, number: i64, arguments: &[u64]) -> u32 {
        let all = std::array::from_fn(|at| arguments.get(at).copied().unwrap_or(0));
        run(program, &data(arch(program), number, all)).0
    }

    /// The library's own program for the same list.
    fn of_library(listed: Rules) -> BpfProgram {
        let refuse = errno(libc::EPERM);
        let filter = SeccompFilter::new(listed, refuse, SeccompAction::Allow, processor().unwrap()).unwrap();
        filter.try_into().unwrap()
    }

    fn arch(program: &BpfProgram) -> u32 {
        program[1].k
    }

    /// Calls with every single argument that a test of ours tells from others, and some that none does.
    fn calls() -> impl Iterator<Item = (i64, [u64; 6])> {
        let values =
            || (0..70).chain([1 << 10, 1 << 32, u64::MAX, u64::from(u32::MAX)]).chain((0..32).map(|bit| 1 << bit));
        let threads = [0x3d0f00, 0x3d0f00 | 1 << 9, 0x1d0f00, 0x50f00, 0x10f00];
        let values = move || values().chain(threads).chain([libc::F_DUPFD_CLOEXEC as u64]);
        let one = move |at: usize, value| std::array::from_fn(|other| if other == at { value } else { 0 });
        let two = move |value| [0, libc::F_DUPFD_CLOEXEC as u64, value, 0, 0, 0];
        let numbers = (-1..600).chain([0x4000_0000, 0x4000_0001, i64::from(i32::MAX), i64::from(i32::MIN)]);
        let arguments =
            move || (0..6).flat_map(move |at| values().map(move |value| one(at, value))).chain(values().map(two));
        numbers.flat_map(move |number| arguments().map(move |arguments| (number, arguments)))
    }

    #[test]
    fn every_call_is_answered_as_the_library_would_answer_it() {
        let list = || rules(at_first()).unwrap();
        let (ours, theirs) = (allow(list(), libc::SYS_clone3).unwrap(), of_library(list()));
        let mut allowed = 0;
        for (number, arguments) in calls() {
            let data = data(arch(&theirs), number, arguments);
            let (found, expected) = (run(&ours, &data).0, run(&theirs, &data).0);
            if number == libc::SYS_clone3 {
                assert_eq!(found, u32::from(errno(libc::ENOSYS)));
            } else {
                assert_eq!(found, expected, "{number} {arguments:x?}");
            }
            allowed += usize::from(found == u32::from(SeccompAction::Allow));
        }
        assert!(allowed > 10_000);
        let other = data(arch(&theirs) ^ 1, 0, [0; 6]);
        assert_eq!(run(&ours, &other).0, u32::from(SeccompAction::KillProcess), "another processor's call");
    }

    #[test]
    fn from_login_on_the_first_list_stands_without_what_ended_with_the_login() {
        let program = |groups: Vec<_>| allow(rules(groups.into_iter()).unwrap(), libc::SYS_clone3).unwrap();
        let first = program(at_first().collect());
        for (access, left) in
            [(Access::Full, ALWAYS.iter().chain(CHANGES).collect()), (Access::ReadOnly, ALWAYS.iter().collect())]
        {
            let (second, after) = (refuse(ended(access)).unwrap(), program(left));
            for (number, arguments) in calls() {
                let data = data(arch(&first), number, arguments);
                // Of two answers the kernel takes the stricter, which is the smaller number of these two.
                let both = run(&first, &data).0.min(run(&second, &data).0);
                assert_eq!(both, run(&after, &data).0, "{access:?} {number} {arguments:x?}");
            }
        }
    }

    #[test]
    fn no_call_takes_long_to_find() {
        let ours = allow(rules(at_first()).unwrap(), libc::SYS_clone3).unwrap();
        let longest = calls().map(|(number, arguments)| run(&ours, &data(arch(&ours), number, arguments)).1).max();
        assert!(longest.unwrap() < 50, "{longest:?} instructions of {}", ours.len());
    }
}
