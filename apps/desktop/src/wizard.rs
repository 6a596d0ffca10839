//! The window that makes a machine.
//!
//! What was chosen is in [`Wizard`]. Whatever follows from it (what the machine would be, what is wrong, where one can go) takes a look at files,
//! and is found out in the background after each change; a later change makes the answer to an earlier one void.

mod draw;
mod make;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bundle::{Architecture, tables};
use library::{Cancel, Host, Library, Plan};
use machine::Named;
use slint::winit_030::winit::event::WindowEvent;
use slint::winit_030::{EventResult, WinitWindowAccessor as _};
use slint::{ComponentHandle as _, ModelRc, PlatformError, SharedString, VecModel};
use supervisor_api::launch;
use supervisor_api::wire::{Finding, FindingLevel};
use view_model::wizard::{Choices, Disk, Installer, Share, Step, StepProblem, Wizard, systems};
use view_model::{bytes, read_bytes};

use crate::engine::Engine;
use crate::portal::{self, Question};
use crate::rows::texts;
use crate::words::say;
use crate::{StepLine, SummaryLine, SystemLine, WizardDisk, WizardFile, WizardWindow};

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
    /// Where to go, until an answer has gone there: what is found out meanwhile takes no step back.
    way: Way,
    /// Memory as it was typed.
    memory: Option<String>,
    /// Disks as they were typed; `None` while nobody has touched them.
    disks: Option<Vec<TypedDisk>>,
    /// The machine types of `catalog_of`.
    catalog: Vec<Named>,
    catalog_of: Option<Architecture>,
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
#[derive(Debug, Clone, Copy, Default)]
enum Way {
    #[default]
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
        let state = State { wizard, change: 0, way: Way::Stay, memory: None, disks, catalog: Vec::new(), catalog_of: None, cancel: None };
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
        let wizard = Rc::downgrade(self);
        self.window.window().on_winit_window_event(move |_, event| {
            if let (WindowEvent::DroppedFile(path), Some(wizard)) = (event, wizard.upgrade()) {
                wizard.dropped(path);
            }
            EventResult::Propagate
        });
        on!(self, on_next, |screen| screen.look(Way::Next));
        on!(self, on_back, |screen| screen.look(Way::Back));
        on!(self, on_go_to, |screen, step| {
            if let Some(step) = usize::try_from(step).ok().and_then(|step| Step::ALL.get(step)) {
                screen.look(Way::To(*step));
            }
        });
        on!(self, on_cancel, |screen| screen.close());
        on!(self, on_choose_system, |screen, index| screen.choose_system(index));
        on!(self, on_choose_virtualize, |screen, on| screen.choose(|choices| choices.virtualize = Some(on)));
        on!(self, on_choose_architecture, |screen, index| {
            let own = screen.state.borrow().wizard.host().architecture;
            let chosen = usize::try_from(index).ok().and_then(|index| Architecture::ALL.get(index)).copied();
            screen.choose(|choices| choices.architecture = chosen.filter(|chosen| Some(*chosen) != own));
        });
        on!(self, on_choose_installer, |screen, index| screen.choose_installer(index));
        on!(self, on_type_path, |screen, file, index, text| screen.set_path(file, index, &text));
        on!(self, on_choose_file, |screen, file, index| screen.ask_file(file, index));
        on!(self, on_type_append, |screen, text| screen.choose(|choices| {
            if let Some(Installer::Kernel { append, .. }) = &mut choices.installer {
                *append = text.to_string();
            }
        }));
        on!(self, on_add_disc, |screen| screen.choose(|choices| choices.more_isos.push(PathBuf::new())));
        on!(self, on_remove_disc, |screen, index| screen.choose(|choices| remove(&mut choices.more_isos, index)));
        on!(self, on_type_memory, |screen, text| screen.type_memory(&text));
        on!(self, on_choose_cores, |screen, index| screen
            .choose(|choices| choices.cores = u32::try_from(index).ok().filter(|cores| *cores > 0)));
        on!(self, on_choose_machine_type, |screen, index| {
            let named = usize::try_from(index).ok().and_then(|index| screen.state.borrow().catalog.get(index).cloned());
            screen.choose(|choices| choices.machine = named.filter(|named| !named.usual).map(|named| named.name));
        });
        on!(self, on_choose_display, |screen, on| screen.choose(|choices| choices.display = (!on).then_some(false)));
        on!(self, on_add_disk, |screen, copy| screen.change_disks(|disks| {
            disks.push(if copy { TypedDisk::Copy(String::new()) } else { TypedDisk::New("64 GiB".to_owned()) });
        }));
        on!(self, on_remove_disk, |screen, index| screen.change_disks(|disks| remove(disks, index)));
        on!(self, on_type_disk, |screen, index, text| screen.change_disks(|disks| {
            if let Some(disk) = usize::try_from(index).ok().and_then(|index| disks.get_mut(index)) {
                *disk = TypedDisk::New(text.to_string());
            }
        }));
        on!(self, on_choose_shared, |screen, on| screen.choose(|choices| {
            choices.share = on.then(|| Share { folder: PathBuf::new(), read_only: false });
        }));
        on!(self, on_choose_share_read_only, |screen, on| screen.choose(|choices| {
            if let Some(share) = &mut choices.share {
                share.read_only = on;
            }
        }));
        on!(self, on_type_name, |screen, text| screen.choose(|choices| choices.name = text.to_string()));
        on!(self, on_choose_start, |screen, on| screen.choose(|choices| choices.start = on));
        on!(self, on_choose_open_settings, |screen, on| screen.choose(|choices| choices.open_settings = on));
        on!(self, on_take_all_the_same, |screen| screen.choose(|choices| choices.unchecked = true));
        on!(self, on_create, |screen| screen.order());
        on!(self, on_cancel_work, |screen| {
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
        if !matches!(way, Way::Stay) {
            state.way = way;
        }
        let (change, way, wizard) = (state.change, state.way, state.wizard.clone());
        drop(state);
        let weak = Rc::downgrade(self);
        let seen = move |seen: Seen| {
            if let Some(screen) = weak.upgrade()
                && screen.state.borrow().change == change
            {
                let mut state = screen.state.borrow_mut();
                state.wizard = seen.wizard.clone();
                state.way = Way::Stay;
                drop(state);
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
            let state = self.state.borrow();
            let architecture = state.wizard.architecture();
            (state.wizard.spec(), architecture, state.catalog_of == Some(architecture))
        };
        let library = self.engine.library().clone();
        let wanted = (spec.architecture, spec.machine.clone(), spec.os, spec.memory_mib);
        let weak = Rc::downgrade(self);
        self.engine.ask(async move { library.offered(&spec).await }, move |offered| {
            let Some(screen) = weak.upgrade() else { return };
            let mut state = screen.state.borrow_mut();
            let choices = state.wizard.choices();
            if (choices.architecture, choices.machine.clone(), choices.os, choices.memory_mib) != wanted {
                return;
            }
            let offer = offered.ok().and_then(|offered| offered.offer);
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
