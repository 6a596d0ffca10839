//! Tables as seccomp filters.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};

use crate::table::{self, Call, When};
use crate::{Thread, violation};

/// Filters for each kind of thread, to be installed in this order; of what they say the kernel does the worst.
#[derive(Debug)]
pub struct Filters(BTreeMap<Thread, Vec<BpfProgram>>);

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Whether this kernel can filter calls.
#[allow(unsafe_code)]
pub fn supported() -> bool {
    // SAFETY: a null filter is never read: the kernel answers EFAULT where it knows the operation, and EINVAL where it does not.
    let answer = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, std::ptr::null::<libc::c_void>()) };
    answer != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

impl Filters {
    /// Those of the tables.
    pub fn new() -> io::Result<Self> {
        violation::prepare()?;
        let programs = |kind| Ok((kind, programs(kind).map_err(io::Error::other)?));
        Thread::ALL.into_iter().map(programs).collect::<io::Result<_>>().map(Self)
    }

    /// The calling thread has them for good.
    pub fn install(&self, kind: Thread) -> io::Result<()> {
        // Those that only refuse come first: after the last one, filters cannot be installed.
        self.0.get(&kind).into_iter().flatten().try_for_each(|program| seccompiler::apply_filter(program).map_err(io::Error::other))
    }
}

fn programs(kind: Thread) -> seccompiler::Result<Vec<BpfProgram>> {
    // What is refused has to be let through by the last filter, or that one would end the process.
    let refused = || table::refused(kind).flat_map(|(_, calls)| *calls);
    let mut programs = Vec::new();
    for (error, calls) in table::refused(kind) {
        let action = SeccompAction::Errno(error.unsigned_abs());
        programs.push(program(rules(calls.iter())?, SeccompAction::Allow, action)?);
    }
    programs.push(program(rules(table::of(kind).chain(refused()))?, SeccompAction::Trap, SeccompAction::Allow)?);
    Ok(programs)
}

fn program(rules: Rules, otherwise: SeccompAction, hit: SeccompAction) -> seccompiler::Result<BpfProgram> {
    // Numbers of another architecture end the process.
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, otherwise, hit, architecture)?.try_into()?)
}

/// Calls by number; one without a rule is meant whatever its arguments are.
fn rules<'a>(calls: impl Iterator<Item = &'a Call>) -> seccompiler::Result<Rules> {
    let mut rules = Rules::new();
    let mut always = Vec::new();
    for call in calls {
        let more = conditions(&call.when)?;
        if more.is_empty() {
            always.push(call.number);
        }
        rules.entry(call.number).or_default().extend(more);
    }
    always.iter().for_each(|number| drop(rules.insert(*number, Vec::new())));
    Ok(rules)
}

/// A rule for each way in which an argument may be as it has to be; none where it does not matter.
fn conditions(when: &When) -> seccompiler::Result<Vec<SeccompRule>> {
    let one = |argument: u8, operator, value: u32| -> seccompiler::Result<SeccompRule> {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value.into())?;
        Ok(SeccompRule::new(vec![condition])?)
    };
    let pointer = |argument: u8| SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0);
    let several = |argument: u8, operator: &dyn Fn() -> SeccompCmpOp, values: &[u32]| {
        values.iter().map(|value| one(argument, operator(), *value)).collect::<seccompiler::Result<Vec<_>>>()
    };
    Ok(match *when {
        When::Always => Vec::new(),
        When::Is(argument, values) => several(argument, &|| SeccompCmpOp::Eq, values)?,
        When::Without(argument, bits) => vec![one(argument, SeccompCmpOp::MaskedEq(bits.into()), 0)?],
        When::With(argument, bits) => vec![one(argument, SeccompCmpOp::MaskedEq(bits.into()), bits)?],
        When::Masked(argument, bits, values) => several(argument, &|| SeccompCmpOp::MaskedEq(bits.into()), values)?,
        When::Null(argument) => vec![SeccompRule::new(vec![pointer(argument)?])?],
        When::OwnProcess(argument) => vec![one(argument, SeccompCmpOp::Eq, std::process::id())?],
    })
}
