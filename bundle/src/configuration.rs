//! A configuration of either kind, and the rules by which a file is read as one.

use plist::{Dictionary, Value};
use uuid::Uuid;

use crate::architecture::Architecture;
use crate::fields::parse_uuid;
use crate::information::Information;
use crate::legacy::identity::Identity;
use crate::nearest::closest;
use crate::problem::{Findings, Level, Problem, ReadError, printable};
use crate::schema::{Schema, Section, type_name};
use crate::{apple, legacy, qemu, tables, tree};

/// The version of the format that is read and written.
pub const CONFIGURATION_VERSION: u64 = 4;

/// What a machine is configured to be.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there is one per machine")]
pub enum Configuration {
    /// A machine that QEMU runs.
    Qemu(qemu::Configuration),
    /// A machine in the object model of Apple's Virtualization framework.
    Apple(apple::Configuration),
}

/// What the file was before it was brought into the present form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Version 4: nothing was brought over.
    V4,
    /// A QEMU configuration of UTM before 4.0.
    LegacyQemu {
        /// 0 to 2.
        version: u64,
    },
    /// An Apple configuration of UTM before 4.0.
    LegacyApple {
        /// 1 to 3.
        version: u64,
    },
}

/// A configuration that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub configuration: Configuration,
    /// What was noticed; none of it is fatal.
    pub problems: Vec<Problem>,
    /// What the file was.
    pub origin: Origin,
    /// The file as it was, before anything was brought over.
    pub raw: Dictionary,
}

impl Configuration {
    /// Reads a configuration from the bytes of a `config.plist`. `fallback_name` names machines of old formats, which hold no name: the bundle's file
    /// name without `.utm`.
    ///
    /// The file is untrusted. Every finding is collected; the error carries all of them.
    pub fn read(bytes: &[u8], fallback_name: &str) -> Result<Loaded, ReadError> {
        let refused = |problem: Problem| ReadError { problems: vec![problem] };
        let root = match tree::read(bytes) {
            Ok(Value::Dictionary(root)) => root,
            Ok(other) => return Err(refused(Problem::fatal("", format!("expected dictionary, found {}", type_name(&other))))),
            Err(error) => return Err(refused(Problem::fatal("", error.to_string()))),
        };
        let mut findings = Findings::default();
        let root = with_identity(root, fallback_name, &mut findings);
        for (key, value) in &root {
            findings.within(key, |findings| tree::check_writable(value, findings));
        }
        Self::from_dictionary(root, fallback_name, findings)
    }

    fn from_dictionary(root: Dictionary, fallback_name: &str, mut findings: Findings) -> Result<Loaded, ReadError> {
        let backend = match backend_of(&root, &mut findings) {
            Some(Backend::Legacy) if !findings.has_fatal() => return migrate(root, fallback_name, findings),
            backend => backend,
        };
        if let Some(Backend::Qemu | Backend::Apple) = backend {
            check_version(&root, &mut findings);
        }
        let mut sections = root.clone();
        sections.remove("Backend");
        sections.remove("ConfigurationVersion");
        let configuration = match backend {
            Some(Backend::Qemu) => Some(Self::Qemu(decode_qemu(&sections, &mut findings))),
            Some(Backend::Apple) => Some(Self::Apple(apple::Configuration::decode_dictionary(&sections, &mut findings))),
            _ => None,
        };
        if let Some(information) = configuration.as_ref().map(Self::information)
            && information.icon_custom
            && information.icon.is_none()
        {
            findings.push(Problem::fatal("Information.Icon", "required key is missing, because `IconCustom` is true"));
        }
        match configuration {
            Some(configuration) if !findings.has_fatal() => {
                Ok(Loaded { configuration, problems: findings.into_problems(), origin: Origin::V4, raw: root })
            }
            _ => Err(ReadError { problems: findings.into_problems() }),
        }
    }

    /// Decodes what [`Configuration::to_dictionary`] made and somebody then changed.
    pub(crate) fn from_changed(root: Dictionary) -> Result<(Self, Vec<Problem>), ReadError> {
        let mut findings = Findings::default();
        for (key, value) in &root {
            findings.within(key, |findings| tree::check_writable(value, findings));
        }
        Self::from_dictionary(root, "", findings).map(|loaded| (loaded.configuration, loaded.problems))
    }

    /// The root dictionary of the configuration, unknown keys included.
    pub fn to_dictionary(&self) -> Dictionary {
        let mut root = match self {
            Self::Qemu(configuration) => configuration.encode_dictionary(),
            Self::Apple(configuration) => configuration.encode_dictionary(),
        };
        root.insert("Backend".to_owned(), Value::String(self.backend().to_owned()));
        root.insert("ConfigurationVersion".to_owned(), Value::Integer(CONFIGURATION_VERSION.into()));
        root.sort_keys();
        root
    }

    /// The configuration as an XML property list. Fails where a text holds characters that those cannot hold.
    pub fn to_xml(&self) -> Result<Vec<u8>, ReadError> {
        let root = self.to_dictionary();
        let mut findings = Findings::default();
        for (key, value) in &root {
            findings.within(key, |findings| tree::check_writable(value, findings));
        }
        if findings.has_fatal() {
            return Err(ReadError { problems: findings.into_problems() });
        }
        tree::write(&root).map_err(|error| ReadError { problems: vec![Problem::fatal("", error.to_string())] })
    }

    /// `QEMU` or `Apple`.
    pub fn backend(&self) -> &'static str {
        match self {
            Self::Qemu(_) => "QEMU",
            Self::Apple(_) => "Apple",
        }
    }

    /// Name, icon and identity.
    pub fn information(&self) -> &Information {
        match self {
            Self::Qemu(configuration) => &configuration.information,
            Self::Apple(configuration) => &configuration.information,
        }
    }

    /// Name, icon and identity.
    pub fn information_mut(&mut self) -> &mut Information {
        match self {
            Self::Qemu(configuration) => &mut configuration.information,
            Self::Apple(configuration) => &mut configuration.information,
        }
    }

    /// The identity of the machine.
    pub fn uuid(&self) -> Uuid {
        self.information().uuid
    }

    /// The name that is shown.
    pub fn name(&self) -> &str {
        &self.information().name
    }

    /// The architecture of the guest's processors.
    pub fn architecture(&self) -> Architecture {
        match self {
            Self::Qemu(configuration) => configuration.system.architecture,
            Self::Apple(configuration) => configuration.system.architecture,
        }
    }

    /// The QEMU configuration, if it is one.
    pub fn as_qemu(&self) -> Option<&qemu::Configuration> {
        match self {
            Self::Qemu(configuration) => Some(configuration),
            Self::Apple(_) => None,
        }
    }

    /// The Apple configuration, if it is one.
    pub fn as_apple(&self) -> Option<&apple::Configuration> {
        match self {
            Self::Qemu(_) => None,
            Self::Apple(configuration) => Some(configuration),
        }
    }

    /// The table of keys that describes it.
    pub fn schema(&self) -> &'static Schema {
        match self {
            Self::Qemu(_) => qemu::Configuration::SCHEMA,
            Self::Apple(_) => apple::Configuration::SCHEMA,
        }
    }
}

impl qemu::Configuration {
    /// The table of keys of this kind of configuration.
    pub const SCHEMA: &'static Schema = <Self as Section>::SCHEMA;
}

impl apple::Configuration {
    /// The table of keys of this kind of configuration.
    pub const SCHEMA: &'static Schema = <Self as Section>::SCHEMA;
}

/// What `Backend` says. A misspelled one is refused, and stands for the one that was meant only so that further problems are found.
enum Backend {
    Qemu,
    Apple,
    Legacy,
}

/// A configuration whose UUID is a template's placeholder is a whole machine but for its identity: it gets one that follows from the file.
/// UTM refuses such files.
fn with_identity(mut root: Dictionary, fallback_name: &str, findings: &mut Findings) -> Dictionary {
    let Some(Value::Dictionary(information)) = root.get("Information") else { return root };
    let Some(Value::String(text)) = information.get("UUID") else { return root };
    if parse_uuid(text).is_some() {
        return root;
    }
    let shown = printable(text);
    let uuid = Identity::new(&root, fallback_name).uuid("machine");
    let problem = Problem::new(Level::Fixed, "Information.UUID", format!("`{shown}` is not a UUID; the machine has another one"));
    findings.push(problem);
    if let Some(Value::Dictionary(information)) = root.get_mut("Information") {
        information.insert("UUID".to_owned(), Value::String(uuid.hyphenated().to_string().to_uppercase()));
    }
    root
}

fn backend_of(root: &Dictionary, findings: &mut Findings) -> Option<Backend> {
    let backend = match root.get("Backend") {
        None => return Some(Backend::Legacy),
        Some(Value::String(backend)) => backend,
        Some(other) => {
            findings.within("Backend", |findings| findings.fatal(format!("expected string, found {}", type_name(other))));
            return None;
        }
    };
    match backend.as_str() {
        "QEMU" => Some(Backend::Qemu),
        "Apple" => Some(Backend::Apple),
        "Unknown" => Some(Backend::Legacy),
        other => {
            let (meant, hint) = if other.eq_ignore_ascii_case("QEMU") {
                (Some(Backend::Qemu), "upper and lower case matter: write `QEMU`")
            } else if other.eq_ignore_ascii_case("Apple") {
                (Some(Backend::Apple), "upper and lower case matter: write `Apple`")
            } else {
                (None, "write `QEMU` or `Apple`")
            };
            let message = format!("`{}` is not a backend", printable(other));
            findings.within("Backend", |findings| findings.report(Level::Fatal, message, Some(hint.to_owned())));
            meant
        }
    }
}

fn check_version(root: &Dictionary, findings: &mut Findings) {
    findings.within("ConfigurationVersion", |findings| match root.get("ConfigurationVersion") {
        Some(Value::Integer(version)) => match version.as_signed() {
            Some(version) if version.unsigned_abs() == CONFIGURATION_VERSION && version > 0 => {}
            Some(version) if version < CONFIGURATION_VERSION.cast_signed() => {
                findings.fatal(format!("version {version} with a `Backend` is too old; the oldest is {CONFIGURATION_VERSION}"));
            }
            _ => findings.fatal(format!("saved by a newer version of UTM: {version}; the newest that is known is {CONFIGURATION_VERSION}")),
        },
        Some(other) => findings.fatal(format!("expected integer, found {}", type_name(other))),
        None => findings.fatal(format!("required key is missing; write {CONFIGURATION_VERSION}")),
    });
}

fn migrate(root: Dictionary, fallback_name: &str, mut findings: Findings) -> Result<Loaded, ReadError> {
    match legacy::migrate(&root, fallback_name) {
        Ok((configuration, problems, origin)) => {
            for problem in problems {
                findings.push(problem);
            }
            if findings.has_fatal() {
                return Err(ReadError { problems: findings.into_problems() });
            }
            Ok(Loaded { configuration, problems: findings.into_problems(), origin, raw: root })
        }
        Err(problems) => {
            for problem in problems {
                findings.push(problem);
            }
            if !findings.has_fatal() {
                findings.fatal("the configuration has no `Backend` and is not of a known old format");
            }
            Err(ReadError { problems: findings.into_problems() })
        }
    }
}

fn decode_qemu(sections: &Dictionary, findings: &mut Findings) -> qemu::Configuration {
    let mut configuration = qemu::Configuration::decode_dictionary(sections, findings);
    // Where the architecture itself was refused, the machine would be compared with the wrong list.
    let written = sections.get("System").and_then(Value::as_dictionary);
    let architecture = written.and_then(|system| system.get("Architecture")).and_then(Value::as_string);
    if architecture == Some(configuration.system.architecture.as_str()) {
        findings.within("System", |findings| check_system(&mut configuration.system, findings));
    }
    configuration
}

/// UTM refuses machines that are not in its list, and resets processor models that are not.
fn check_system(system: &mut qemu::System, findings: &mut Findings) {
    let architecture = system.architecture;
    if !tables::machine_is_known(architecture, &system.target) {
        let shown = printable(&system.target);
        findings.within("Target", |findings| {
            if is_version_of_known_family(architecture, &system.target) {
                let message = format!("`{shown}` is a version of a known machine that is not in the list for {architecture}");
                let hint = "the installed QEMU may not have it; UTM may refuse the bundle";
                findings.report(Level::Ignored, message, Some(hint.to_owned()));
            } else {
                let meant = closest(&system.target, tables::machines(architecture).iter());
                let hint = meant.map(|meant| format!("did you mean `{meant}`?"));
                findings.report(Level::Fatal, format!("`{shown}` is not a machine of {architecture}"), hint);
            }
        });
    }
    if !tables::cpu_is_known(architecture, &system.cpu) {
        let message = format!("`{}` is not a processor model of {architecture}; replaced by `default`", printable(&system.cpu));
        findings.within("CPU", |findings| findings.report(Level::Fixed, message, None));
        system.cpu = "default".to_owned();
    }
}

/// Whether `target` is a known machine with a version at its end, such as `virt-11.0` or `pc-q35-9.2`: QEMU adds and drops versions with each
/// release, so bundles of other releases of UTM name ones that this list lacks.
fn is_version_of_known_family(architecture: Architecture, target: &str) -> bool {
    let Some((family, version)) = target.rsplit_once('-') else {
        return false;
    };
    let mut numbers = version.split('.');
    let is_version = (2..=3).contains(&numbers.clone().count())
        && numbers.all(|number| !number.is_empty() && number.len() <= 3 && number.bytes().all(|byte| byte.is_ascii_digit()));
    let family = match family {
        "pc-q35" => "q35",
        "pc-i440fx" => "pc",
        other => other,
    };
    is_version && tables::machine_is_known(architecture, family)
}
