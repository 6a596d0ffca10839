//! The window that makes a machine.
//!
//! What was chosen is in [`Wizard`]. Whatever follows from it (what the machine would be, what is wrong, where one can go) takes a look at files,
//! and is found out in the background after each change; a later change makes the answer to an earlier one void.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use bundle::{Architecture, Configuration, tables};
use library::{Cancel, Host, Job, Library, Os, Plan, Progress};
use machine::{Named, Offer};
use slint::{ComponentHandle as _, ModelRc, PlatformError, SharedString, VecModel};
use supervisor_api::launch;
use supervisor_api::wire::{Finding, FindingLevel};
use view_model::wizard::{Choices, Disk, How, Installer, Order, Share, Step, StepProblem, Wizard, systems};
use view_model::{Failure, bytes, mebibytes, read_bytes};

use crate::engine::Engine;
use crate::portal::{self, Question};
use crate::rows::{place, put, texts};
use crate::words::say;
use crate::{StepLine, SummaryLine, SystemLine, WizardDisk, WizardFile, WizardWindow, WizardWrong};

/// A machine that was made, and what was wished for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// The machine, and what a person should know about it.
    pub made: library::Made,
    /// Its settings are opened now.
    pub open_settings: bool,
    /// It is started: at once, or when its settings are closed.
    pub start: bool,
}

/// The wizard's window. It keeps itself until it is closed.
pub struct WizardScreen {
    window: WizardWindow,
    engine: Engine,
    state: RefCell<State>,
    rows: Rows,
    done: Box<dyn Fn(Made)>,
    own: RefCell<Option<Rc<Self>>>,
}

#[derive(Default)]
struct Rows {
    steps: Rc<VecModel<StepLine>>,
    systems: Rc<VecModel<SystemLine>>,
    problems: Rc<VecModel<SharedString>>,
    more_isos: Rc<VecModel<SharedString>>,
    machine_types: Rc<VecModel<SharedString>>,
    cores: Rc<VecModel<SharedString>>,
    disks: Rc<VecModel<WizardDisk>>,
    summary: Rc<VecModel<SummaryLine>>,
}

struct State {
    wizard: Wizard,
    /// Counts changes.
    change: u64,
    /// Memory as it was typed.
    memory: Option<String>,
    /// Disks as they were typed; `None` while nobody has touched them.
    disks: Option<Vec<TypedDisk>>,
    /// The machine types of `catalog_of`.
    catalog: Vec<Named>,
    catalog_of: Option<Architecture>,
    offer: Option<Offer>,
    cancel: Option<Cancel>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TypedDisk {
    New(String),
    Copy(String),
}

/// What follows from what was chosen.
struct Seen {
    wizard: Wizard,
    problems: Vec<StepProblem>,
    plan: Option<Plan>,
    can_continue: bool,
    reachable: Vec<bool>,
    summary: Vec<SummaryLine>,
    memory_help: String,
    cores_help: String,
    cores_most: u32,
}

/// Where to go.
#[derive(Debug, Clone, Copy)]
enum Way {
    Stay,
    Next,
    Back,
    To(Step),
}

impl WizardScreen {
    /// Opens the window. `preset` is what was dropped on the home window: an ISO or a disk image. `done` is told what was made.
    ///
    /// # Errors
    /// Where there is no display.
    pub fn open(engine: &Engine, preset: Option<PathBuf>, done: impl Fn(Made) + 'static) -> Result<Rc<Self>, PlatformError> {
        let host = Host::now();
        let mut wizard = match &preset {
            Some(file) if is_disc(file) => Wizard::for_iso(host, file.clone()),
            _ => Wizard::new(host),
        };
        let mut disks = None;
        if let Some(file) = preset.filter(|file| !is_disc(file)) {
            disks = Some(vec![TypedDisk::Copy(file.display().to_string())]);
            wizard.choose(|choices| {
                choices.installer = Some(Installer::Nothing);
                choices.disks = Some(vec![Disk::Copy(file)]);
            });
        }
        let state = State { wizard, change: 0, memory: None, disks, catalog: Vec::new(), catalog_of: None, offer: None, cancel: None };
        let screen = Rc::new(Self {
            window: WizardWindow::new()?,
            engine: engine.clone(),
            state: RefCell::new(state),
            rows: Rows::default(),
            done: Box::new(done),
            own: RefCell::default(),
        });
        screen.fill();
        screen.connect();
        screen.ask_computer();
        screen.ask_offer();
        screen.look(Way::Stay);
        screen.window.show()?;
        *screen.own.borrow_mut() = Some(screen.clone());
        Ok(screen)
    }

    /// The window.
    pub const fn window(&self) -> &WizardWindow {
        &self.window
    }

    fn close(&self) {
        if let Err(error) = self.window.hide() {
            tracing::error!("The wizard's window stays: {error}");
        }
        self.own.borrow_mut().take();
    }

    fn fill(&self) {
        let (window, rows) = (&self.window, &self.rows);
        window.set_steps(ModelRc::from(rows.steps.clone()));
        window.set_systems(ModelRc::from(rows.systems.clone()));
        window.set_problems(ModelRc::from(rows.problems.clone()));
        window.set_more_isos(ModelRc::from(rows.more_isos.clone()));
        window.set_machine_types(ModelRc::from(rows.machine_types.clone()));
        window.set_cores_choices(ModelRc::from(rows.cores.clone()));
        window.set_disks(ModelRc::from(rows.disks.clone()));
        window.set_summary(ModelRc::from(rows.summary.clone()));
        let own = self.state.borrow().wizard.host().architecture;
        let architectures = Architecture::ALL.iter().map(|architecture| match tables::label(*architecture) {
            label if Some(*architecture) == own => format!("{label} (this computer)"),
            label => label.to_owned(),
        });
        window.set_architectures(texts(architectures));
    }

    fn connect(self: &Rc<Self>) {
        /// A callback that has the screen, as long as that is there.
        macro_rules! on {
            ($callback:ident, |$screen:ident $(, $argument:ident)*| $body:expr) => {{
                let weak = Rc::downgrade(self);
                self.window.$callback(move |$($argument),*| {
                    if let Some($screen) = weak.upgrade() { $body }
                });
            }};
        }
        on!(on_next, |screen| screen.look(Way::Next));
        on!(on_back, |screen| screen.look(Way::Back));
        on!(on_go_to, |screen, step| {
            if let Some(step) = usize::try_from(step).ok().and_then(|step| Step::ALL.get(step)) {
                screen.look(Way::To(*step));
            }
        });
        on!(on_cancel, |screen| screen.close());
        on!(on_choose_system, |screen, index| screen.choose_system(index));
        on!(on_choose_virtualize, |screen, on| screen.choose(|choices| choices.virtualize = Some(on)));
        on!(on_choose_architecture, |screen, index| {
            let own = screen.state.borrow().wizard.host().architecture;
            let chosen = usize::try_from(index).ok().and_then(|index| Architecture::ALL.get(index)).copied();
            screen.choose(|choices| choices.architecture = chosen.filter(|chosen| Some(*chosen) != own));
        });
        on!(on_choose_installer, |screen, index| screen.choose_installer(index));
        on!(on_type_path, |screen, file, index, text| screen.set_path(file, index, &text));
        on!(on_choose_file, |screen, file, index| screen.ask_file(file, index));
        on!(on_type_append, |screen, text| screen.choose(|choices| {
            if let Some(Installer::Kernel { append, .. }) = &mut choices.installer {
                *append = text.to_string();
            }
        }));
        on!(on_add_disc, |screen| screen.choose(|choices| choices.more_isos.push(PathBuf::new())));
        on!(on_remove_disc, |screen, index| screen.choose(|choices| remove(&mut choices.more_isos, index)));
        on!(on_type_memory, |screen, text| screen.type_memory(&text));
        on!(on_choose_cores, |screen, index| screen.choose(|choices| choices.cores = u32::try_from(index).ok().filter(|cores| *cores > 0)));
        on!(on_choose_machine_type, |screen, index| {
            let named = usize::try_from(index).ok().and_then(|index| screen.state.borrow().catalog.get(index).cloned());
            screen.choose(|choices| choices.machine = named.filter(|named| !named.usual).map(|named| named.name));
        });
        on!(on_choose_display, |screen, on| screen.choose(|choices| choices.display = (!on).then_some(false)));
        on!(on_add_disk, |screen, copy| screen.change_disks(|disks| {
            disks.push(if copy { TypedDisk::Copy(String::new()) } else { TypedDisk::New("64 GiB".to_owned()) });
        }));
        on!(on_remove_disk, |screen, index| screen.change_disks(|disks| remove(disks, index)));
        on!(on_type_disk, |screen, index, text| screen.change_disks(|disks| {
            if let Some(disk) = usize::try_from(index).ok().and_then(|index| disks.get_mut(index)) {
                *disk = TypedDisk::New(text.to_string());
            }
        }));
        on!(on_choose_shared, |screen, on| screen.choose(|choices| {
            choices.share = on.then(|| Share { folder: PathBuf::new(), read_only: false });
        }));
        on!(on_choose_share_read_only, |screen, on| screen.choose(|choices| {
            if let Some(share) = &mut choices.share {
                share.read_only = on;
            }
        }));
        on!(on_type_name, |screen, text| screen.choose(|choices| choices.name = text.to_string()));
        on!(on_choose_start, |screen, on| screen.choose(|choices| choices.start = on));
        on!(on_choose_open_settings, |screen, on| screen.choose(|choices| choices.open_settings = on));
        on!(on_take_all_the_same, |screen| screen.choose(|choices| choices.unchecked = true));
        on!(on_create, |screen| screen.order());
        on!(on_cancel_work, |screen| {
            if let Some(cancel) = &screen.state.borrow().cancel {
                cancel.cancel();
                screen.window.set_cancelling(true);
            }
        });
        let weak = Rc::downgrade(self);
        self.window.window().on_close_requested(move || {
            if let Some(screen) = weak.upgrade() {
                // What is being made is made: closing cancels nothing that was asked for.
                screen.own.borrow_mut().take_if(|_| screen.state.borrow().cancel.is_none());
            }
            slint::CloseRequestResponse::HideWindow
        });
    }

    // What is chosen.

    fn choose(self: &Rc<Self>, change: impl FnOnce(&mut Choices)) {
        let mut state = self.state.borrow_mut();
        let other_type = state.wizard.choose(change);
        drop(state);
        if other_type {
            self.ask_offer();
        }
        self.look(Way::Stay);
    }

    fn choose_system(self: &Rc<Self>, index: i32) {
        let is_mac = self.state.borrow().wizard.host().is_mac;
        let cards = systems(is_mac);
        if let Some(card) = usize::try_from(index).ok().and_then(|index| cards.get(index)).filter(|card| card.offered) {
            self.choose(|choices| choices.os = card.os);
        }
    }

    fn choose_installer(self: &Rc<Self>, index: i32) {
        self.choose(|choices| {
            choices.installer = match (index, choices.installer.take()) {
                (0, Some(iso @ Installer::Iso(_))) => Some(iso),
                (0, _) => Some(Installer::Iso(PathBuf::new())),
                (1, Some(kernel @ Installer::Kernel { .. })) => Some(kernel),
                (1, _) => Some(Installer::Kernel { kernel: PathBuf::new(), initrd: None, append: String::new() }),
                _ => Some(Installer::Nothing),
            };
        });
    }

    fn set_path(self: &Rc<Self>, file: WizardFile, index: i32, text: &str) {
        let path = path_typed(text);
        let optional = Some(path.clone()).filter(|path| !path.as_os_str().is_empty());
        match file {
            WizardFile::Iso => self.choose(|choices| {
                choices.installer = Some(Installer::Iso(path));
                choices.unchecked = false;
            }),
            WizardFile::Kernel => self.choose(|choices| match &mut choices.installer {
                Some(Installer::Kernel { kernel, .. }) => *kernel = path,
                installer => *installer = Some(Installer::Kernel { kernel: path, initrd: None, append: String::new() }),
            }),
            WizardFile::Initrd => self.choose(|choices| {
                if let Some(Installer::Kernel { initrd, .. }) = &mut choices.installer {
                    *initrd = optional;
                }
            }),
            WizardFile::MoreIso => self.choose(|choices| {
                if let Some(iso) = usize::try_from(index).ok().and_then(|index| choices.more_isos.get_mut(index)) {
                    *iso = path;
                }
            }),
            WizardFile::Rom => self.choose(|choices| choices.rom = optional),
            WizardFile::Disk => self.change_disks(|disks| {
                if let Some(disk) = usize::try_from(index).ok().and_then(|index| disks.get_mut(index)) {
                    *disk = TypedDisk::Copy(text.to_owned());
                }
            }),
            WizardFile::Share => self.choose(|choices| {
                let read_only = choices.share.as_ref().is_some_and(|share| share.read_only);
                choices.share = Some(Share { folder: path, read_only });
            }),
        }
    }

    fn type_memory(self: &Rc<Self>, text: &str) {
        let typed = Some(text.to_owned()).filter(|text| !text.trim().is_empty());
        // What makes no sense yet is no memory at all, which the library refuses.
        let mib = typed.as_ref().map(|text| read_bytes(text).map_or(0, |bytes| bytes >> 20));
        self.state.borrow_mut().memory = typed;
        self.choose(|choices| choices.memory_mib = mib);
    }

    fn change_disks(self: &Rc<Self>, change: impl FnOnce(&mut Vec<TypedDisk>)) {
        let mut disks = self.disks_now();
        change(&mut disks);
        let chosen = disks.iter().map(|disk| match disk {
            TypedDisk::New(text) => Disk::New(read_bytes(text).unwrap_or(0)),
            TypedDisk::Copy(text) => Disk::Copy(path_typed(text)),
        });
        let chosen = chosen.collect();
        self.state.borrow_mut().disks = Some(disks);
        self.choose(|choices| {
            choices.disks = Some(chosen);
            choices.unchecked = false;
        });
    }

    /// The disks as they are shown.
    fn disks_now(&self) -> Vec<TypedDisk> {
        let state = self.state.borrow();
        state.disks.clone().unwrap_or_else(|| usual_disks(&state.wizard))
    }

    // What is asked in the background.

    fn look(self: &Rc<Self>, way: Way) {
        let mut state = self.state.borrow_mut();
        state.change += 1;
        let (change, wizard) = (state.change, state.wizard.clone());
        drop(state);
        let weak = Rc::downgrade(self);
        let seen = move |seen: Seen| {
            if let Some(screen) = weak.upgrade()
                && screen.state.borrow().change == change
            {
                screen.state.borrow_mut().wizard = seen.wizard.clone();
                screen.draw(&seen);
            }
        };
        self.engine.look(move |library| Seen::of(wizard, way, library), seen);
    }

    fn ask_computer(self: &Rc<Self>) {
        let weak = Rc::downgrade(self);
        self.engine.ask(launch::doctor(), move |found| {
            let Some(screen) = weak.upgrade() else { return };
            let findings = found.unwrap_or_else(|error| {
                let (subject, level) = ("kvm".to_owned(), FindingLevel::Warning);
                vec![Finding { subject, level, message: machine::chain(&error), fix: None }]
            });
            screen.state.borrow_mut().wizard.set_findings(&findings);
            screen.look(Way::Stay);
        });
    }

    /// Asks what the machine type offers, and which types the architecture has.
    fn ask_offer(self: &Rc<Self>) {
        let (spec, architecture, known) = {
            let mut state = self.state.borrow_mut();
            state.offer = None;
            let architecture = state.wizard.architecture();
            (state.wizard.spec(), architecture, state.catalog_of == Some(architecture))
        };
        let library = self.engine.library().clone();
        let wanted = (spec.architecture, spec.machine.clone(), spec.os);
        let weak = Rc::downgrade(self);
        self.engine.ask(async move { library.offered(&spec).await }, move |offered| {
            let Some(screen) = weak.upgrade() else { return };
            let mut state = screen.state.borrow_mut();
            let choices = state.wizard.choices();
            if (choices.architecture, choices.machine.clone(), choices.os) != wanted {
                return;
            }
            let offer = offered.ok().and_then(|offered| offered.offer);
            state.offer.clone_from(&offer);
            state.wizard.set_offer(offer);
            drop(state);
            screen.look(Way::Stay);
        });
        if known {
            return;
        }
        let library = self.engine.library().clone();
        let weak = Rc::downgrade(self);
        self.engine.ask(async move { library.catalog(Some(architecture)).await }, move |catalog| {
            let Some(screen) = weak.upgrade() else { return };
            let mut state = screen.state.borrow_mut();
            if state.wizard.architecture() != architecture {
                return;
            }
            state.catalog = catalog.map(|catalog| catalog.machines).unwrap_or_default();
            state.catalog_of = Some(architecture);
            drop(state);
            screen.look(Way::Stay);
        });
    }

    fn ask_file(self: &Rc<Self>, file: WizardFile, index: i32) {
        let endings = |name: &str, endings: &[&str]| Some((name.to_owned(), endings.iter().map(|ending| (*ending).to_owned()).collect()));
        let (title, kinds) = match file {
            WizardFile::Iso | WizardFile::MoreIso => ("Choose an ISO image", endings("ISO images", &["iso", "img", "cdr"])),
            WizardFile::Kernel => ("Choose a kernel", None),
            WizardFile::Initrd => ("Choose an initial RAM disk", None),
            WizardFile::Rom => ("Choose a firmware file", None),
            WizardFile::Disk => {
                ("Choose a disk image", endings("Disk images", &["qcow2", "img", "raw", "vmdk", "vdi", "vhd", "vhdx", "qcow"]))
            }
            WizardFile::Share => ("Choose a folder to share", None),
        };
        let question = Question { title: title.to_owned(), folder: file == WizardFile::Share, kinds };
        let weak = Rc::downgrade(self);
        self.engine.ask(portal::choose(question), move |answer| {
            let Some(screen) = weak.upgrade() else { return };
            screen.window.set_remark(SharedString::default());
            match answer {
                Ok(Some(path)) => screen.set_path(file, index, &path.display().to_string()),
                Ok(None) => {}
                Err(error) => screen.window.set_remark(format!("{error:#}. Type the path instead, or drop the file here").into()),
            }
        });
    }

    /// Takes what was dropped on the window for what the page asks for.
    pub fn dropped(self: &Rc<Self>, path: &Path) {
        let text = path.display().to_string();
        let (step, kernel) = {
            let state = self.state.borrow();
            (state.wizard.step(), matches!(state.wizard.choices().installer, Some(Installer::Kernel { .. })))
        };
        match step {
            Step::Installer if kernel => self.set_path(WizardFile::Kernel, 0, &text),
            Step::System | Step::Installer => self.set_path(WizardFile::Iso, 0, &text),
            Step::Storage => self.change_disks(|disks| disks.push(TypedDisk::Copy(text))),
            Step::Sharing => self.set_path(WizardFile::Share, 0, &text),
            Step::Hardware | Step::Summary => {}
        }
    }

    // Making it.

    fn order(self: &Rc<Self>) {
        if self.state.borrow().cancel.is_some() {
            return;
        }
        let wizard = self.state.borrow().wizard.clone();
        let weak = Rc::downgrade(self);
        self.engine.look(
            move |_| wizard.order(),
            move |order| {
                let Some(screen) = weak.upgrade() else { return };
                match order {
                    Ok(order) => screen.make(order),
                    Err(_) => screen.look(Way::Stay),
                }
            },
        );
    }

    fn make(self: &Rc<Self>, order: Order) {
        let cancel = Cancel::new();
        if self.state.borrow_mut().cancel.replace(cancel.clone()).is_some() {
            return;
        }
        let window = &self.window;
        window.set_failure(SharedString::default());
        window.set_work_what(SharedString::default());
        window.set_work_value(-1.0);
        window.set_cancelling(false);
        window.set_working(true);
        let job = Job::new(told(window), cancel);
        let library = self.engine.library().clone();
        let Order { create, share, open_settings, start } = order;
        let making = async move {
            let mut made = library.create(create, &job).await?;
            if let Some(share) = share
                && let Err(error) = library.share(&made.machine, share)
            {
                made.notes.push(format!("The folder is not shared: {error}"));
            }
            Ok::<_, library::Error>(made)
        };
        // Held until it is made, even where the window is closed meanwhile.
        let screen = self.clone();
        self.engine.ask(making, move |made| {
            screen.state.borrow_mut().cancel = None;
            screen.window.set_working(false);
            match made {
                Ok(made) => {
                    screen.close();
                    (screen.done)(Made { made, open_settings, start });
                }
                Err(error) if error.kind() == library::ErrorKind::Cancelled => {}
                Err(error) => screen.failed(&error),
            }
        });
    }

    fn failed(&self, error: &library::Error) {
        let failure = Failure::from(error);
        let what = match failure.why {
            Some(why) => format!("{}: {why}", failure.what),
            None => failure.what,
        };
        self.window.set_failure(what.into());
        self.window.set_failure_hint(failure.hint.unwrap_or_default().into());
    }

    // What is drawn.

    fn draw(&self, seen: &Seen) {
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
        let needs = state.offer.as_ref().and_then(|offer| offer.needs.as_ref()).is_some_and(|needs| needs.firmware);
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

impl Seen {
    fn of(mut wizard: Wizard, way: Way, library: &Library) -> Self {
        let name = wizard.choices().name.trim().to_owned();
        if !name.is_empty() {
            let refused = library.check_name(&name).err();
            wizard.set_name_checked(&name, refused.as_ref());
        }
        match way {
            Way::Stay => {}
            // Where there is no way, the wizard stays where it is.
            Way::Next => _ = wizard.advance(),
            Way::Back => _ = wizard.back(),
            Way::To(step) => _ = wizard.go_to(step),
        }
        let problems = wizard.problems();
        let last = wizard.step() == Step::Summary;
        let can_continue = problems.iter().all(|problem| problem.is_warning || (!last && problem.step != wizard.step()));
        let lines = wizard.summary().into_iter().filter(|_| last);
        let summary = lines.map(|line| SummaryLine { label: say(line.label), value: say(line.value) });
        Self {
            can_continue,
            plan: wizard.plan(),
            reachable: Step::ALL.iter().map(|step| wizard.can_go_to(*step)).collect(),
            summary: summary.collect(),
            memory_help: wizard.memory_help().to_string(),
            cores_help: wizard.cores_help().map(|help| help.to_string()).unwrap_or_default(),
            cores_most: wizard.limits().cores_most,
            problems,
            wizard,
        }
    }
}

/// What hears how far the library is, from whichever thread, and tells the window: one message on its way at a time.
fn told(window: &WizardWindow) -> impl Fn(Progress) + Send + Sync + 'static {
    let (window, last) = (window.as_weak(), Arc::new(Mutex::new(None::<Progress>)));
    move |progress| {
        let waiting = last.lock().unwrap_or_else(PoisonError::into_inner).replace(progress).is_some();
        if waiting {
            return;
        }
        let last = last.clone();
        let told = window.upgrade_in_event_loop(move |window| {
            let Some(progress) = last.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
            let total = progress.total.filter(|total| *total > 0);
            window.set_work_value(total.map_or(-1.0, |total| (progress.done as f64 / total as f64) as f32));
            window.set_work_what(progress.what.into());
        });
        if let Err(error) = told {
            tracing::debug!("Nobody hears how far it is: {error}");
        }
    }
}

/// The disks that the library would make.
fn usual_disks(wizard: &Wizard) -> Vec<TypedDisk> {
    let drives = wizard.plan().map(|plan| plan.drives).unwrap_or_default();
    let sizes = drives.iter().filter_map(|drive| match drive {
        library::DriveSpec::Disk(disk) => disk.size,
        _ => None,
    });
    sizes.map(|size| TypedDisk::New(bytes(size))).collect()
}

/// A path as a person types it; `~` is the home folder.
fn path_typed(text: &str) -> PathBuf {
    let text = text.trim();
    if let Some(path) = portal::path_of(text) {
        return path;
    }
    match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(text),
    }
}

fn is_disc(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ["iso", "cdr"].iter().any(|disc| ending.eq_ignore_ascii_case(disc)))
}

fn remove<T>(list: &mut Vec<T>, index: i32) {
    if let Some(index) = usize::try_from(index).ok().filter(|index| *index < list.len()) {
        list.remove(index);
    }
}
