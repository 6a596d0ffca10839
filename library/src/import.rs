//! Taking in what was made elsewhere.

use std::fs::File;
use std::path::Path;

use bundle::{BUNDLE_EXTENSION, Configuration, bundle_file_name, legacy};
use disk_image::{Doubt, Format};
use uuid::Uuid;

use crate::clone::{configure, forget_generation};
use crate::staging::Part;
use crate::{
    DiskFormat, DiskSpec, Error, ErrorKind, ImportOptions, Job, Library, Made, Result, archive, edit, files, images, register, scan,
    transfer,
};

impl Library {
    /// Imports a `.utm` folder or `.utm.zip` file, or makes a machine around a disk image (raw, qcow2, vmdk, vdi, vhdx) or a CD image (`.iso`).
    /// The source is left as it is.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for a file of no known kind, [`crate::ErrorKind::Invalid`] for an archive that is not what it says,
    /// [`crate::ErrorKind::Exists`] for a name that was given and is taken.
    pub async fn import(&self, source: &Path, options: ImportOptions, job: &Job) -> Result<Made> {
        let path = files::absolute(source);
        let data = std::fs::metadata(&path).map_err(|error| Error::io(format!("Cannot open {}", source.display()), error))?;
        if options.link {
            return self.import_link(&path, &options);
        }
        if data.is_dir() {
            let job = job.clone();
            return self.work(move |library| library.import_bundle(&path, options.name, &job)).await;
        }
        if archive::is_zip(&path)? {
            let job = job.clone();
            return self.work(move |library| library.import_zip(&path, options.name, &job)).await;
        }
        self.import_image(&path, options, job).await
    }

    fn import_link(&self, path: &Path, options: &ImportOptions) -> Result<Made> {
        if options.name.is_some() {
            return Err(Error::new(ErrorKind::Invalid, "A bundle that stays where it is keeps its name").with_hint("Rename it afterwards"));
        }
        self.register(path)
    }

    fn import_bundle(&self, source: &Path, name: Option<String>, job: &Job) -> Result<Made> {
        if !source.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(BUNDLE_EXTENSION)) {
            return Err(Error::new(ErrorKind::Unsupported, format!("Not a bundle: {}", source.display()))
                .with_hint("A bundle is a folder whose name ends in .utm"));
        }
        if source.starts_with(files::absolute(&self.places().machines)) {
            return Err(Error::new(ErrorKind::Exists, format!("Is in the library already: {}", source.display()))
                .with_hint("Clone it to get a second one"));
        }
        let stem = scan::stem(source);
        let bundle = edit::open_at(source, &stem)?;
        let (wanted, notes) = self.import_name(bundle.configuration.name(), name)?;
        let original = self.again(source);
        let _lock = self.lock(&original, "import")?;
        let part = Part::folder(self.places(), &self.places().machines, &bundle_file_name(&wanted))?;
        transfer::copy_bundle(source, part.path(), job)?;
        self.settle(part, &wanted, notes)
    }

    fn import_zip(&self, source: &Path, name: Option<String>, job: &Job) -> Result<Made> {
        let mut archive = archive::Archive::open(source)?;
        let stem = scan::stem(Path::new(archive.bundle_name()));
        let part = Part::folder(self.places(), &self.places().machines, &format!("{stem}.utm"))?;
        archive.extract(part.path(), job)?;
        let bundle = edit::open_at(part.path(), &stem)?;
        // Old formats hold no name: it is the folder's.
        let own = if bundle.origin() == bundle::Origin::V4 { bundle.configuration.name().to_owned() } else { stem };
        let (wanted, notes) = self.import_name(&own, name)?;
        job.check()?;
        self.settle(part, &wanted, notes)
    }

    /// The name that an import gets: the one that is asked for, or its own, numbered where that is taken.
    fn import_name(&self, own: &str, given: Option<String>) -> Result<(String, Vec<String>)> {
        if let Some(given) = given {
            self.check_name(&given)?;
            return Ok((given, Vec::new()));
        }
        let own = own.trim();
        let own = if crate::library::check_name_text(own).is_ok() { own } else { "Virtual Machine" };
        let free = self.free_name(own);
        let notes =
            if free == own { Vec::new() } else { vec![format!("There is already a machine \"{own}\"; this one is called \"{free}\"")] };
        Ok((free, notes))
    }

    /// Gives an imported bundle its name and, where another machine has its own or left something here under it, a new UUID.
    fn settle(&self, part: Part, name: &str, mut notes: Vec<String>) -> Result<Made> {
        let uuid = edit::open_at(part.path(), name)?.configuration.uuid();
        let other = if self.uuid_is_taken(uuid, None) {
            Some("Another machine has the same UUID; this one got a new one")
        } else if self.is_remembered(uuid) {
            Some("Media and folders of another machine with the same UUID are remembered here; this one got a new one and none of them")
        } else {
            None
        };
        // What is taken in may be older than what ran last, and others may be made of it.
        forget_generation(part.path())?;
        let taken = other.is_some();
        notes.extend(other.map(str::to_owned));
        configure(part.path(), name, |configuration: &mut Configuration| {
            let information = configuration.information_mut();
            name.clone_into(&mut information.name);
            if taken {
                information.uuid = Uuid::new_v4();
            }
        })?;
        let mut made = self.publish(part, name, notes)?;
        made.notes.extend(register::import_notes(&made.machine)?);
        // Whoever starts it would do the same; until then it is no worse a machine.
        let uuid = self.configuration(&made.machine)?.configuration.uuid();
        if let Err(error) = legacy::hand_over_view_state(&made.machine.path, &self.registry(), uuid) {
            tracing::warn!(%error, "cannot take over how the machine's windows were");
        }
        Ok(made)
    }

    /// Whether a machine with this UUID was given media or folders, perhaps one that is in the trash: whoever made a bundle can write any UUID
    /// into it, and would get them.
    fn is_remembered(&self, uuid: Uuid) -> bool {
        self.registry().has_given(uuid).unwrap_or(true)
    }

    async fn import_image(&self, path: &Path, options: ImportOptions, job: &Job) -> Result<Made> {
        let failed = |error| Error::io(format!("Cannot open {}", path.display()), error);
        let file = File::open(path).map_err(failed)?;
        let format = disk_image::probe(&file).map_err(failed)?;
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_lowercase();
        if format == Format::Dmg {
            return Err(Error::new(ErrorKind::Unsupported, format!("Apple's disk images cannot be imported: {}", path.display()))
                .with_hint("Convert it with `qemu-img convert -O qcow2` first"));
        }
        let mut spec = options.machine;
        // Raw is what nothing else claims; a text or a picture is no disk.
        let usual = ["img", "raw", "iso", "bin", "dd", "disk", "hdd", ""].contains(&extension.as_str());
        let doubt = disk_image::doubt_as_disk(&file).map_err(failed)?;
        let hint = match &doubt {
            Some(Doubt::Compressed(_)) => "Unpack it first",
            _ => "`--force` takes it as a raw disk all the same",
        };
        let doubt = doubt.map(|doubt| doubt.to_string());
        let doubt = doubt.or_else(|| (!usual).then(|| format!("files of raw disks are not called .{extension}")));
        if let Some(doubt) = doubt.filter(|_| format == Format::Raw && extension != "iso" && !spec.unchecked) {
            let message = format!("Neither a bundle, an archive of one, nor a disk image: {doubt}: {}", path.display());
            return Err(Error::new(ErrorKind::Unsupported, message).with_hint(hint));
        }
        spec.name = Some(match options.name.or(spec.name) {
            Some(name) => name,
            None => self.free_name(usable_stem(path)),
        });
        let is_cd = format == Format::Iso && !["img", "raw", "bin", "dd"].contains(&extension.as_str()) || extension == "iso";
        if is_cd {
            spec.isos.insert(0, path.to_path_buf());
        } else {
            let keep = options.keep_format.then(|| keep_format(path)).transpose()?;
            let first = DiskSpec { source: Some(path.to_path_buf()), format: keep, ..DiskSpec::default() };
            spec.disks.get_or_insert_default().insert(0, first);
        }
        self.create(spec, job).await
    }
}

/// The formats that a machine can run from as they are.
fn keep_format(path: &Path) -> Result<DiskFormat> {
    match images::foreign(path)?.top().format {
        Format::Qcow2 => Ok(DiskFormat::Qcow2),
        Format::Raw | Format::Iso => Ok(DiskFormat::Raw),
        other => Err(Error::new(ErrorKind::Unsupported, format!("Images of format {other} cannot be kept as they are"))
            .with_hint("Let it be converted to qcow2")),
    }
}

fn usable_stem(path: &Path) -> &str {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .map(str::trim)
        .filter(|stem| crate::library::check_name_text(stem).is_ok())
        .unwrap_or("Imported")
}
