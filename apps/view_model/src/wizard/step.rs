//! The steps, and what is wrong with each.

use bundle::Problem;

use super::hardware::{LEAST_DISK, MOST_DISK};
use super::{Disk, Installer, Wizard};
use crate::{Message, Text, bytes, mebibytes, texts};

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Which system, virtualized or emulated.
    System,
    /// What it is installed from.
    Installer,
    /// Memory, cores, machine type, display.
    Hardware,
    /// Its disk.
    Storage,
    /// The folder that it shares.
    Sharing,
    /// Its name, and everything in a list.
    Summary,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 6] = [Self::System, Self::Installer, Self::Hardware, Self::Storage, Self::Sharing, Self::Summary];

    /// What it is called.
    pub const fn text(self) -> Text {
        match self {
            Self::System => texts::STEP_SYSTEM,
            Self::Installer => texts::STEP_INSTALLER,
            Self::Hardware => texts::STEP_HARDWARE,
            Self::Storage => texts::STEP_STORAGE,
            Self::Sharing => texts::STEP_SHARING,
            Self::Summary => texts::STEP_SUMMARY,
        }
    }

    /// The step where something that the library has said can be changed.
    fn of(problem: &Problem) -> Self {
        match problem.key_path.as_str() {
            "os" | "architecture" | "virtualize" => Self::System,
            "iso" | "kernel" | "initrd" | "dtb" | "append" => Self::Installer,
            "disk" => Self::Storage,
            "name" => Self::Summary,
            // Machine types, memory, processors, firmware, network: a machine's hardware.
            _ => Self::Hardware,
        }
    }
}

/// Something that is wrong with a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepProblem {
    /// Where it can be changed.
    pub step: Step,
    /// Which field it is about: `memory`, `cpus`, `iso`, `disk`, …
    pub field: String,
    /// What is wrong, and what would happen.
    pub message: Message,
    /// What to do.
    pub hint: Option<String>,
    /// Whether the machine can be made all the same.
    pub is_warning: bool,
    /// Whether it is only what a file looks like: [`super::Choices::unchecked`] takes it all the same.
    pub is_doubt: bool,
}

impl StepProblem {
    fn new(step: Step, field: &str, message: impl Into<Message>) -> Self {
        Self { step, field: field.to_owned(), message: message.into(), hint: None, is_warning: false, is_doubt: false }
    }
}

impl From<Problem> for StepProblem {
    fn from(problem: Problem) -> Self {
        let step = Step::of(&problem);
        // What names options of the command line helps nobody here.
        let is_doubt = problem.hint.as_deref().is_some_and(|hint| hint.contains("--force"));
        let hint = problem.hint.filter(|hint| !hint.contains("--"));
        Self { step, field: problem.key_path, message: Message::said(problem.message), hint, is_warning: false, is_doubt }
    }
}

impl Wizard {
    /// The step that is shown.
    pub const fn step(&self) -> Step {
        self.step
    }

    /// Everything that is wrong with what was chosen so far, in the order of the steps. Looks at the files that are named.
    pub fn problems(&self) -> Vec<StepProblem> {
        let mut problems: Vec<StepProblem> = self.spec().problems(self.offer.as_ref()).into_iter().map(StepProblem::from).collect();
        match &self.choices.installer {
            None => problems.push(StepProblem::new(Step::Installer, "installer", texts::PROBLEM_INSTALLER)),
            Some(Installer::Kernel { kernel, .. }) if kernel.as_os_str().is_empty() => {
                problems.retain(|problem| problem.field != "kernel");
                problems.push(StepProblem::new(Step::Installer, "kernel", texts::PROBLEM_KERNEL));
            }
            Some(Installer::Iso(_) | Installer::Kernel { .. } | Installer::Nothing) => {}
        }
        if let Err(why) = self.emulate()
            && self.choices.virtualize == Some(false)
        {
            problems.push(StepProblem::new(Step::System, "virtualize", why));
        }
        self.hardware_problems(&mut problems);
        let name = self.choices.name.trim();
        let refused = self.refused_name.as_ref().filter(|(refused, _)| refused == name).map(|(_, why)| why.clone());
        let wrong = || Some(name).filter(|name| !name.is_empty()).and_then(|name| library::check_name_text(name).err());
        if let Some(why) = refused.or_else(|| wrong().map(|error| error.to_string())) {
            problems.push(StepProblem::new(Step::Summary, "name", Message::said(why)));
        }
        for disk in self.choices.disks.iter().flatten() {
            let message = match disk {
                Disk::New(size) if !(LEAST_DISK..=MOST_DISK).contains(size) => {
                    texts::PROBLEM_DISK_SIZE.with([&bytes(LEAST_DISK), &bytes(MOST_DISK)])
                }
                Disk::Copy(source) if source.as_os_str().is_empty() => texts::PROBLEM_DISK_IMAGE.into(),
                Disk::New(_) | Disk::Copy(_) => continue,
            };
            // Said here as a person would, once.
            problems.retain(|problem| problem.field != "disk");
            problems.push(StepProblem::new(Step::Storage, "disk", message));
        }
        problems.sort_by_key(|problem| problem.step);
        problems
    }

    fn hardware_problems(&self, problems: &mut Vec<StepProblem>) {
        let (limits, host) = (self.limits(), self.host());
        if let Some(memory) = self.choices.memory_mib.filter(|memory| *memory > 0) {
            if memory > host.memory_mib {
                let message = texts::PROBLEM_MEMORY_MOST.with([&mebibytes(memory), &mebibytes(host.memory_mib)]);
                problems.push(StepProblem::new(Step::Hardware, "memory", message));
            } else if memory < limits.memory_least {
                let message = texts::PROBLEM_MEMORY_LEAST.with([&mebibytes(memory)]);
                problems.push(StepProblem { is_warning: true, ..StepProblem::new(Step::Hardware, "memory", message) });
            }
        }
        if let Some(cores) = self.choices.cores.filter(|cores| *cores > limits.cores_most) {
            let message = texts::PROBLEM_CORES_MOST.with([&cores, &limits.cores_most]);
            problems.push(StepProblem { is_warning: true, ..StepProblem::new(Step::Hardware, "cpus", message) });
        }
    }

    /// The problems of the step that is shown.
    pub fn problems_here(&self) -> Vec<StepProblem> {
        self.problems().into_iter().filter(|problem| problem.step == self.step).collect()
    }

    /// Whether the step that is shown can be left for the next.
    pub fn can_continue(&self) -> bool {
        self.step != Step::Summary && self.problems_here().iter().all(|problem| problem.is_warning)
    }

    /// Goes to the next step, where that is possible.
    pub fn advance(&mut self) -> bool {
        let may = self.can_continue();
        if let Some(next) = Step::ALL.into_iter().find(|step| *step > self.step).filter(|_| may) {
            self.step = next;
        }
        may
    }

    /// Goes to the step before, where there is one.
    pub fn back(&mut self) -> bool {
        let before = Step::ALL.into_iter().rfind(|step| *step < self.step);
        self.step = before.unwrap_or(self.step);
        before.is_some()
    }

    /// Whether a step can be gone to at once: any before, and any later one that no problem lies before.
    pub fn can_go_to(&self, step: Step) -> bool {
        step <= self.step || !self.problems().iter().any(|problem| problem.step < step && !problem.is_warning)
    }

    /// Goes to a step, where that is possible.
    pub fn go_to(&mut self, step: Step) -> bool {
        let may = self.can_go_to(step);
        if may {
            self.step = step;
        }
        may
    }
}
