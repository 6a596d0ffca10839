//! What the wizard shows of what was chosen, and of what follows from it.

use std::path::Path;

use bundle::{Architecture, Configuration};
use library::Os;
use slint::SharedString;
use view_model::wizard::{How, Installer, Step, StepProblem, systems};
use view_model::{mebibytes, read_bytes};

use super::{Seen, TypedDisk, WizardScreen};
use crate::rows::{place, put};
use crate::words::say;
use crate::{StepLine, SystemLine, WizardDisk, WizardWrong};

impl WizardScreen {
    pub(super) fn draw(&self, seen: &Seen) {
        let (window, rows) = (&self.window, &self.rows);
        let wizard = &seen.wizard;
        let (choices, step) = (wizard.choices(), wizard.step());
        let number = place(Step::ALL.iter().position(|other| *other == step));
        let steps = Step::ALL.iter().zip(&seen.reachable).map(|(other, reachable)| StepLine {
            title: say(other.text()),
            done: *other < step,
            reachable: *reachable,
        });
        put(&rows.steps, steps.collect());
        let cards = systems(wizard.host().is_mac).into_iter().map(|card| {
            let (letters, hue) = match card.os {
                Os::Linux => ("L", 0),
                Os::Windows => ("W", 1),
                Os::MacOs => ("M", 3),
                Os::Other => ("··", 6),
            };
            SystemLine {
                title: say(card.title),
                help: say(card.help),
                letters: letters.into(),
                hue,
                offered: card.offered,
                chosen: card.os == choices.os,
            }
        });
        put(&rows.systems, cards.collect());

        let virtualize = wizard.virtualize();
        window.set_virtualize(wizard.how() == How::Virtualized);
        window.set_virtualize_possible(virtualize.is_ok() && wizard.emulate().is_ok());
        window.set_virtualize_help(say(virtualize.unwrap_or_else(|why| why)));
        let architecture = wizard.architecture();
        window.set_architecture(place(Architecture::ALL.iter().position(|other| *other == architecture)));

        let path = |path: &Path| SharedString::from(path.display().to_string());
        window.set_kernel_offered(matches!(choices.os, Os::Linux | Os::Other));
        window.set_installer(match &choices.installer {
            None => -1,
            Some(Installer::Iso(iso)) => {
                window.set_iso(path(iso));
                0
            }
            Some(Installer::Kernel { kernel, initrd, append }) => {
                window.set_kernel(path(kernel));
                window.set_initrd(initrd.as_deref().map(path).unwrap_or_default());
                window.set_append(append.as_str().into());
                1
            }
            Some(Installer::Nothing) => 2,
        });
        put(&rows.more_isos, choices.more_isos.iter().map(|iso| path(iso)).collect());
        self.draw_hardware(seen);
        self.draw_disks(seen);

        window.set_shared(choices.share.is_some());
        if let Some(share) = &choices.share {
            window.set_share(path(&share.folder));
            window.set_share_read_only(share.read_only);
        }
        window.set_name(choices.name.as_str().into());
        let usual = seen.plan.as_ref().map(|plan| plan.configuration.name()).unwrap_or_default();
        window.set_usual_name(usual.into());
        window.set_start_at_once(choices.start);
        window.set_open_settings(choices.open_settings);
        put(&rows.summary, seen.summary.clone());
        self.draw_problems(seen);
        window.set_can_continue(seen.can_continue);
        window.set_step(number);
    }

    fn draw_hardware(&self, seen: &Seen) {
        let (window, state) = (&self.window, self.state.borrow());
        let choices = seen.wizard.choices();
        let (memory, cores, target) = match seen.plan.as_ref().map(|plan| &plan.configuration) {
            Some(Configuration::Qemu(qemu)) => (qemu.system.memory_size, qemu.system.cpu_count, Some(qemu.system.target.clone())),
            Some(Configuration::Apple(apple)) => (apple.system.memory_size, apple.system.cpu_count, None),
            None => (0, 0, None),
        };
        window.set_memory(state.memory.clone().unwrap_or_else(|| mebibytes(memory)).into());
        window.set_memory_help(seen.memory_help.as_str().into());
        window.set_cores_help(seen.cores_help.as_str().into());
        let most = seen.cores_most.max(choices.cores.unwrap_or(0)).max(if choices.cores.is_some() { cores } else { 0 }).min(512);
        let cores_choices = std::iter::once("Automatic".to_owned()).chain((1..=most).map(|cores| cores.to_string()));
        put(&self.rows.cores, cores_choices.map(SharedString::from).collect());
        window.set_cores(choices.cores.and_then(|cores| i32::try_from(cores).ok()).unwrap_or(0));
        // Until the installed program has answered, the one that is planned.
        let known = state.catalog.iter().map(|named| match named.description.as_deref() {
            Some(what) => format!("{} · {what}", named.name),
            None => named.name.clone(),
        });
        let mut known: Vec<SharedString> = known.map(SharedString::from).collect();
        let mut index = target.as_deref().and_then(|target| state.catalog.iter().position(|named| named.name == target));
        if let (Some(target), None) = (&target, index) {
            known.insert(0, target.into());
            index = Some(0);
        }
        put(&self.rows.machine_types, known);
        window.set_machine_type(place(index));
        let needs = state.wizard.offer().and_then(|offer| offer.needs.as_ref()).is_some_and(|needs| needs.firmware);
        window.set_rom_shown(needs || choices.rom.is_some());
        window.set_rom(choices.rom.as_ref().map(|rom| rom.display().to_string()).unwrap_or_default().into());
        window.set_display(choices.display.unwrap_or(true));
    }

    fn draw_disks(&self, seen: &Seen) {
        let wrong = seen.problems.iter().any(|problem| problem.field == "disk" && !problem.is_warning);
        let disks = self.disks_now();
        let only = disks.len() == 1;
        let lines = disks.into_iter().map(|disk| match disk {
            TypedDisk::New(text) => {
                let size = read_bytes(&text).unwrap_or(0);
                WizardDisk { copy: false, wrong: wrong && (only || !(1 << 20..=8 << 40).contains(&size)), text: text.into() }
            }
            TypedDisk::Copy(text) => WizardDisk { copy: true, wrong: wrong && (only || text.is_empty()), text: text.into() },
        });
        put(&self.rows.disks, lines.collect());
    }

    fn draw_problems(&self, seen: &Seen) {
        let step = seen.wizard.step();
        let here: Vec<&StepProblem> =
            seen.problems.iter().filter(|problem| problem.step == step || (step == Step::Summary && !problem.is_warning)).collect();
        let memory = self.state.borrow().memory.clone();
        let unreadable = memory.and_then(|text| read_bytes(&text).err()).map(|why| why.to_string());
        let disk = self.disks_now().into_iter().find_map(|disk| match disk {
            TypedDisk::New(text) => read_bytes(&text).err().map(|why| why.to_string()),
            TypedDisk::Copy(_) => None,
        });
        let words = |problem: &StepProblem| match (problem.field.as_str(), &unreadable, &disk) {
            ("memory", Some(why), _) | ("disk", _, Some(why)) => why.clone(),
            _ => problem.message.to_string(),
        };
        let of = |fields: &[&str]| {
            let problem = here.iter().find(|problem| fields.contains(&problem.field.as_str()) && problem.step == step);
            problem.map(|problem| SharedString::from(words(problem))).unwrap_or_default()
        };
        self.window.set_wrong(WizardWrong {
            virtualize: of(&["virtualize", "os", "architecture"]),
            iso: of(&["iso"]),
            kernel: of(&["kernel"]),
            initrd: of(&["initrd", "dtb"]),
            append: of(&["append"]),
            machine: of(&["machine"]),
            rom: of(&["bios", "firmware"]),
            memory: of(&["memory"]),
            memory_warning: here.iter().filter(|problem| problem.field == "memory").all(|problem| problem.is_warning),
            cores: of(&["cpus"]),
            disk: of(&["disk"]),
            share: of(&["share"]),
            name: of(&["name"]),
        });
        let mut lines: Vec<SharedString> = Vec::new();
        for problem in &here {
            let hint = problem.hint.as_ref().map(|hint| format!(". {hint}")).unwrap_or_default();
            let line = SharedString::from(format!("{}{hint}", words(problem)));
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        put(&self.rows.problems, lines);
        self.window.set_doubt(here.iter().any(|problem| problem.is_doubt));
    }
}
