//! What there is on this computer to make machines of, which only the supervisor program can tell.

use bundle::{Architecture, tables};
use machine::{Catalog, Named, Offer};
use supervisor_api::launch;

use crate::running::from_launch;
use crate::{BackendChoice, CreateSpec, Error, ErrorKind, Library, Result, create_plan};

/// What is offered, and what a person should know about the answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Offered {
    /// `None` where nobody could tell.
    pub offer: Option<Offer>,
    /// A sentence each.
    pub notes: Vec<String>,
}

impl Library {
    /// The machine types and processor models that a machine of an architecture (left out: the host's) can be made with: those that
    /// configurations can name and the installed QEMU has. Where it is not installed, those that configurations can name.
    ///
    /// # Errors
    /// [`ErrorKind::Supervisor`] where the supervisor program fails.
    pub async fn catalog(&self, architecture: Option<Architecture>) -> Result<Catalog> {
        let architecture = create_plan::architecture(&CreateSpec { architecture, ..CreateSpec::default() });
        let installed = match launch::catalog(architecture.as_str()).await.map_err(from_launch) {
            Ok(catalog) => catalog,
            Err(error) if error.kind() == ErrorKind::Missing => Catalog::default(),
            Err(error) => return Err(error),
        };
        let usual = create_plan::target(&CreateSpec { architecture: Some(architecture), ..CreateSpec::default() });
        let named = |name: &&str| Named { name: (*name).to_owned(), ..Named::default() };
        let or_known = |mut installed: Vec<Named>, known: &[&str], possible: &dyn Fn(&str) -> bool| {
            installed.retain(|named| possible(&named.name));
            // Targets that do not list their processor models have some, too.
            if installed.is_empty() { known.iter().map(named).filter(|named| possible(&named.name)).collect() } else { installed }
        };
        let machine = |name: &str| name != "none" && create_plan::machine_is_possible(architecture, name);
        let cpu = |name: &str| name != "default" && tables::cpu_is_known(architecture, name);
        let mut machines = or_known(installed.machines, tables::machines(architecture), &machine);
        for machine in &mut machines {
            machine.usual = machine.name == usual;
        }
        let description = Some("what suits the machine and this computer".to_owned());
        let mut cpus = vec![Named { name: "default".to_owned(), description, usual: true, deprecated: false }];
        cpus.extend(or_known(installed.cpus, tables::cpus(architecture), &cpu));
        Ok(Catalog { machines, cpus })
    }

    /// What the machine type of a request offers.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for one that the installed QEMU cannot run.
    pub async fn offered(&self, spec: &CreateSpec) -> Result<Offered> {
        if !self.asks_supervisor || spec.backend != BackendChoice::Qemu {
            return Ok(Offered::default());
        }
        let (architecture, target) = (create_plan::architecture(spec), create_plan::target(spec));
        let cpu = spec.cpu.as_deref().filter(|cpu| *cpu != "default");
        match launch::offer(architecture.as_str(), &target, cpu, create_plan::memory(spec)).await.map_err(from_launch) {
            Ok(offer) => Ok(Offered { offer: Some(offer), notes: Vec::new() }),
            // What can be installed later is no reason not to make the machine now.
            Err(error) if error.kind() != ErrorKind::Invalid => Ok(Offered { offer: None, notes: vec![not_yet(&error)] }),
            Err(error) => Err(error),
        }
    }
}

/// That a machine was made which cannot be started as things are.
pub(crate) fn not_yet(error: &Error) -> String {
    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("It cannot be started yet: {}{hint}", error.chain())
}
