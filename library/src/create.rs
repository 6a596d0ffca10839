//! Making a machine.

use std::fs;
use std::path::{Path, PathBuf};

use bundle::{CONFIGURATION_FILE, Configuration, DATA_FOLDER, bundle_file_name};
use supervisor_api::launch;

use crate::offer::{Offered, not_yet};
use crate::running::from_launch;
use crate::staging::Part;
use crate::{CreateSpec, Error, ErrorKind, Job, Library, Made, Result, create_check, create_plan, drive_new, files, images, media};

impl Library {
    /// Makes a machine in the library's own folder.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`] for a name that is taken, [`crate::ErrorKind::Invalid`] with every problem for a combination that cannot
    /// run or files that are not what they are given as, [`crate::ErrorKind::NotFound`] for files that are not there, [`crate::ErrorKind::NoSpace`] before anything is copied.
    pub async fn create(&self, spec: CreateSpec, job: &Job) -> Result<Made> {
        create_check::check(&spec)?;
        let name = match &spec.name {
            Some(name) => {
                self.check_name(name)?;
                name.clone()
            }
            None => self.free_name(create_plan::usual_name(&spec)),
        };
        let Offered { offer, mut notes } = self.offered(&spec).await?;
        let offer = offer.as_ref();
        if let Some(offer) = offer {
            create_check::check_offer(&spec, offer)?;
        }
        let mut configuration = create_plan::configuration(&spec, &name, offer);
        let part = Part::folder(self.places(), &self.places().machines, &bundle_file_name(&name))?;
        let data = part.path().join(DATA_FOLDER);
        fs::create_dir(&data).map_err(|error| Error::io(format!("Cannot make {}", data.display()), error))?;
        files::ensure_space(part.path(), create_plan::needed_space(&spec))?;

        let mut media = Vec::new();
        for drive in create_plan::drives(&spec, &configuration, offer)? {
            job.check()?;
            let new = drive_new::plan(&configuration, drive, &data)?;
            if let Some(file) = &new.file {
                drive_new::make(self, file, &data, job).await?;
                if let Some(format) = file.format {
                    images::record(part.path(), |images| images.set_format(&file.name, format.driver()))?;
                }
            }
            if let Some(medium) = &new.medium {
                media.push((new.id.clone(), medium.clone(), new.read_only));
            }
            (new.apply)(&mut configuration)?;
        }
        let fatal: Vec<_> = configuration.validate().into_iter().filter(bundle::Problem::is_fatal).collect();
        if !fatal.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "Such a machine could not run").with_problems(fatal));
        }
        let xml = configuration
            .to_xml()
            .map_err(|error| Error::new(ErrorKind::Invalid, "The configuration cannot be stored").with_problems(error.problems))?;
        let file = part.path().join(CONFIGURATION_FILE);
        atomic_file::write(&file, &xml).map_err(|error| Error::io(format!("Cannot write {}", file.display()), error))?;
        job.check()?;
        if let Some(offer) = offer {
            notes.extend(startable(part.path()).await?);
            notes.extend(create_plan::notes(&spec, offer));
        }
        self.finish(part, &name, &configuration, media, notes).await
    }

    /// What is in the drives is remembered first, so that the machine never shows without it.
    async fn finish(
        &self,
        part: Part,
        name: &str,
        configuration: &Configuration,
        media: Vec<(String, PathBuf, bool)>,
        notes: Vec<String>,
    ) -> Result<Made> {
        let (name, uuid) = (name.to_owned(), configuration.uuid());
        self.work(move |library| {
            let registry = library.registry();
            let package = library.places().machines.join(bundle_file_name(&name));
            if !media.is_empty() {
                let remembered = registry.update(uuid, &package, |entry| {
                    name.clone_into(&mut entry.name);
                    for (drive, medium, read_only) in media {
                        entry.external_drives.insert(drive, media::host_file(&medium, read_only));
                    }
                });
                remembered.map_err(|error| Error::io("Cannot remember what is in the drives", error))?;
            }
            let made = library.publish(part, &name, notes);
            if made.is_err() {
                let _ = registry.remove(uuid, &package);
            }
            made
        })
        .await
    }
}

/// Tries whether a bundle could be started as it is: a note where something has to be installed first, an error where that would not help.
async fn startable(bundle: &Path) -> Result<Option<String>> {
    match launch::command_line(bundle).await.map_err(from_launch) {
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::Invalid => {
            let source = error.chain();
            let refused = Error::new(ErrorKind::Invalid, "Such a machine could not be started").with_source(source);
            Err(match error.hint() {
                Some(hint) => refused.with_hint(hint),
                None => refused,
            })
        }
        Err(error) => Ok(Some(not_yet(&error))),
    }
}
