//! What only a Mac can do: macOS guests, and Rosetta for Linux guests.
//!
//! A macOS guest begins with a [`RestoreImage`], which says what it needs ([`ConfigurationRequirements`]); that, with an
//! [`AuxiliaryStorage`] made for it, becomes a [`MacPlatform`]. The machine has a disk to which a [`MacOsInstaller`] installs, and boots it
//! afterwards with `BootLoader::MacOs`. All of it needs Apple silicon.

use std::cell::Cell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use block2::RcBlock;
use objc2::rc::Retained;
use objc2::{AnyThread, available};
use objc2_foundation::{NSArray, NSData, NSError, NSProgress, NSURL};
use objc2_virtualization::*;

use super::error::{failed, result, url};
use super::queue::{Carried, OnQueue};
use super::require_apple_silicon;
use crate::completion::{Completer, Completion};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::VirtualMachine;

/// The kind of computer that a macOS guest runs on: opaque bytes, to be kept with the guest. Apple: `VZMacHardwareModel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardwareModel(Vec<u8>);

impl HardwareModel {
    /// From the bytes that [`Self::data_representation`] gave; `None` where they are none.
    pub fn from_data_representation(data: &[u8]) -> Option<Self> {
        let this = Self(data.to_vec());
        this.theirs().ok().map(|_| this)
    }

    /// The bytes to keep with the guest.
    pub fn data_representation(&self) -> &[u8] {
        &self.0
    }

    /// Whether this Mac runs guests of this kind. Apple: `isSupported`.
    pub fn is_supported(&self) -> bool {
        // SAFETY: it takes nothing.
        self.theirs().is_ok_and(|theirs| unsafe { theirs.isSupported() })
    }

    fn of(theirs: &VZMacHardwareModel) -> Self {
        // SAFETY: it takes nothing.
        Self(unsafe { theirs.dataRepresentation() }.to_vec())
    }

    fn theirs(&self) -> Result<Retained<VZMacHardwareModel>> {
        require_apple_silicon("A macOS guest")?;
        let data = NSData::with_bytes(&self.0);
        // SAFETY: it takes any bytes.
        let theirs = unsafe { VZMacHardwareModel::initWithDataRepresentation(VZMacHardwareModel::alloc(), &data) };
        theirs.ok_or_else(|| Error::new(ErrorKind::InvalidConfiguration, "The bytes of a hardware model make no sense"))
    }
}

/// What tells one macOS guest from another: opaque bytes, to be kept with the guest. Apple: `VZMacMachineIdentifier`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacMachineIdentifier(Vec<u8>);

impl MacMachineIdentifier {
    /// A new one.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] without Apple silicon.
    pub fn random() -> Result<Self> {
        require_apple_silicon("A macOS guest")?;
        // SAFETY: they take nothing.
        Ok(Self(unsafe { VZMacMachineIdentifier::new().dataRepresentation() }.to_vec()))
    }

    /// From the bytes that [`Self::data_representation`] gave; `None` where they are none.
    pub fn from_data_representation(data: &[u8]) -> Option<Self> {
        let this = Self(data.to_vec());
        this.theirs().ok().map(|_| this)
    }

    /// The bytes to keep with the guest.
    pub fn data_representation(&self) -> &[u8] {
        &self.0
    }

    fn theirs(&self) -> Result<Retained<VZMacMachineIdentifier>> {
        require_apple_silicon("A macOS guest")?;
        let data = NSData::with_bytes(&self.0);
        // SAFETY: it takes any bytes.
        let theirs = unsafe { VZMacMachineIdentifier::initWithDataRepresentation(VZMacMachineIdentifier::alloc(), &data) };
        theirs.ok_or_else(|| Error::new(ErrorKind::InvalidConfiguration, "The bytes of a Mac's identifier make no sense"))
    }
}

/// The file in which a macOS guest's firmware keeps what it needs. Apple: `VZMacAuxiliaryStorage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuxiliaryStorage {
    path: PathBuf,
}

impl AuxiliaryStorage {
    /// The file at this path, which is opened with the machine.
    pub fn open(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned() }
    }

    /// A new file for a guest of this kind; `overwrite` says whether one that is there is lost.
    ///
    /// # Errors
    /// What the framework says: the file is there, or the model is not supported.
    pub fn create(path: impl AsRef<Path>, model: &HardwareModel, overwrite: bool) -> Result<Self> {
        let this = Self::open(path);
        let options = if overwrite {
            VZMacAuxiliaryStorageInitializationOptions::AllowOverwrite
        } else {
            VZMacAuxiliaryStorageInitializationOptions::empty()
        };
        let (address, model) = (url(&this.path)?, model.theirs()?);
        // SAFETY: the address is one of a file.
        let made = unsafe {
            VZMacAuxiliaryStorage::initCreatingStorageAtURL_hardwareModel_options_error(
                VZMacAuxiliaryStorage::alloc(),
                &address,
                &model,
                options,
            )
        };
        made.map_err(failed(format!("Could not make the auxiliary storage {}", this.path.display())))?;
        Ok(this)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A Mac, for macOS guests. Its three parts belong together for as long as the guest lives. Apple: `VZMacPlatformConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacPlatform {
    /// The kind of Mac, from a [`RestoreImage`].
    pub hardware_model: HardwareModel,
    /// What tells it from others.
    pub machine_identifier: MacMachineIdentifier,
    /// What its firmware keeps.
    pub auxiliary_storage: AuxiliaryStorage,
}

/// The platform, as the framework has it.
pub(super) fn platform(ours: &MacPlatform) -> Result<Retained<VZPlatformConfiguration>> {
    let (model, identifier) = (ours.hardware_model.theirs()?, ours.machine_identifier.theirs()?);
    let address = url(&ours.auxiliary_storage.path)?;
    // SAFETY: the address is one of a file, and everything else is whole.
    unsafe {
        let theirs = VZMacPlatformConfiguration::new();
        let storage = VZMacAuxiliaryStorage::initWithURL(VZMacAuxiliaryStorage::alloc(), &address);
        theirs.setHardwareModel(&model);
        theirs.setMachineIdentifier(&identifier);
        theirs.setAuxiliaryStorage(Some(&storage));
        Ok(Retained::into_super(theirs))
    }
}

/// A display. Apple: `VZGraphicsDeviceConfiguration`, with the one display that each has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphicsDevice {
    /// That of a Mac, for macOS guests. Apple: `VZMacGraphicsDeviceConfiguration`.
    Mac {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Pixels of an inch; a display with 200 or more is a Retina display to the guest.
        pixels_per_inch: u32,
    },
    /// A virtio display, for Linux guests. Apple: `VZVirtioGraphicsDeviceConfiguration`.
    Virtio {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
}

/// A keyboard. Apple: `VZKeyboardConfiguration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keyboard {
    /// One that every guest knows. Apple: `VZUSBKeyboardConfiguration`.
    Usb,
    /// That of a Mac, for guests with macOS 13 or later, on macOS 14 or later. Apple: `VZMacKeyboardConfiguration`.
    Mac,
}

/// A pointing device. Apple: `VZPointingDeviceConfiguration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PointingDevice {
    /// One that says where on the screen it points. Apple: `VZUSBScreenCoordinatePointingDeviceConfiguration`.
    UsbScreenCoordinate,
    /// A trackpad, for guests with macOS 13 or later. Apple: `VZMacTrackpadConfiguration`.
    MacTrackpad,
}

/// Displays are smaller than this.
fn number(value: u32) -> isize {
    isize::try_from(value).unwrap_or(isize::MAX)
}

pub(super) fn graphics(ours: &[GraphicsDevice]) -> Result<Vec<Retained<VZGraphicsDeviceConfiguration>>> {
    let device = |device: &GraphicsDevice| match *device {
        GraphicsDevice::Mac { width, height, pixels_per_inch } => {
            require_apple_silicon("A Mac's display")?;
            // SAFETY: they take any numbers, which the validation of the whole looks at.
            unsafe {
                let display = VZMacGraphicsDisplayConfiguration::initWithWidthInPixels_heightInPixels_pixelsPerInch(
                    VZMacGraphicsDisplayConfiguration::alloc(),
                    number(width),
                    number(height),
                    number(pixels_per_inch),
                );
                let device = VZMacGraphicsDeviceConfiguration::new();
                device.setDisplays(&NSArray::from_retained_slice(&[display]));
                Ok(Retained::into_super(device))
            }
        }
        // SAFETY: as above.
        GraphicsDevice::Virtio { width, height } => unsafe {
            let scanout = VZVirtioGraphicsScanoutConfiguration::initWithWidthInPixels_heightInPixels(
                VZVirtioGraphicsScanoutConfiguration::alloc(),
                number(width),
                number(height),
            );
            let device = VZVirtioGraphicsDeviceConfiguration::new();
            device.setScanouts(&NSArray::from_retained_slice(&[scanout]));
            Ok(Retained::into_super(device))
        },
    };
    ours.iter().map(device).collect()
}

pub(super) fn keyboards(ours: &[Keyboard]) -> Result<Vec<Retained<VZKeyboardConfiguration>>> {
    let keyboard = |keyboard: &Keyboard| match keyboard {
        // SAFETY: it takes nothing.
        Keyboard::Usb => Ok(Retained::into_super(unsafe { VZUSBKeyboardConfiguration::new() })),
        Keyboard::Mac => {
            require_apple_silicon("A Mac's keyboard")?;
            if !available!(macos = 14.0) {
                return Err(Error::new(ErrorKind::NotSupported, "A Mac's keyboard needs macOS 14 or later"));
            }
            // SAFETY: it takes nothing.
            Ok(Retained::into_super(unsafe { VZMacKeyboardConfiguration::new() }))
        }
    };
    ours.iter().map(keyboard).collect()
}

pub(super) fn pointing_devices(ours: &[PointingDevice]) -> Result<Vec<Retained<VZPointingDeviceConfiguration>>> {
    let device = |device: &PointingDevice| match device {
        // SAFETY: it takes nothing.
        PointingDevice::UsbScreenCoordinate => Ok(Retained::into_super(unsafe { VZUSBScreenCoordinatePointingDeviceConfiguration::new() })),
        PointingDevice::MacTrackpad => {
            require_apple_silicon("A Mac's trackpad")?;
            // SAFETY: it takes nothing.
            Ok(Retained::into_super(unsafe { VZMacTrackpadConfiguration::new() }))
        }
    };
    ours.iter().map(device).collect()
}

/// Whether Linux guests can be given Rosetta, which runs programs for Intel processors. Apple: `VZLinuxRosettaAvailability`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RosettaAvailability {
    /// This Mac does not have it.
    NotSupported,
    /// It can be installed ([`install_rosetta`]).
    NotInstalled,
    /// It is there.
    Installed,
}

/// Whether there is Rosetta for Linux guests. Apple: `VZLinuxRosettaDirectoryShare.availability`.
pub fn rosetta_availability() -> RosettaAvailability {
    if require_apple_silicon("Rosetta").is_err() {
        return RosettaAvailability::NotSupported;
    }
    // SAFETY: it takes nothing.
    match unsafe { VZLinuxRosettaDirectoryShare::availability() } {
        VZLinuxRosettaAvailability::Installed => RosettaAvailability::Installed,
        VZLinuxRosettaAvailability::NotInstalled => RosettaAvailability::NotInstalled,
        _ => RosettaAvailability::NotSupported,
    }
}

/// Installs Rosetta, after macOS has asked the person in front of it. Apple: `installRosetta`.
///
/// # Errors
/// [`ErrorKind::Cancelled`] where the person does not want it, or what else the system says.
pub fn install_rosetta() -> Completion<()> {
    if let Err(error) = require_apple_silicon("Rosetta") {
        return Completion::ended(Err(error));
    }
    let (completer, completion) = Completion::new();
    let handler = ending("Could not install Rosetta", completer);
    // SAFETY: the handler may be called on any thread, once, and is copied by whoever keeps it.
    unsafe { VZLinuxRosettaDirectoryShare::installRosettaWithCompletionHandler(&handler) };
    completion
}

pub(super) fn rosetta_share() -> Result<Retained<VZDirectoryShare>> {
    require_apple_silicon("Rosetta")?;
    // SAFETY: it takes nothing.
    let share = unsafe { VZLinuxRosettaDirectoryShare::initWithError(VZLinuxRosettaDirectoryShare::alloc()) };
    Ok(Retained::into_super(share.map_err(failed("Could not share Rosetta; install_rosetta installs it"))?))
}

/// A handler that ends an operation, once.
fn ending(attempt: &'static str, completer: Completer<()>) -> RcBlock<dyn Fn(*mut NSError)> {
    let completer = Mutex::new(Some(completer));
    RcBlock::new(move |error: *mut NSError| {
        // SAFETY: the framework lends an error, or gives none.
        let result = unsafe { result(attempt, error) };
        if let Some(completer) = completer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            completer.end(result);
        }
    })
}

/// What a macOS guest needs, at the least. Apple: `VZMacOSConfigurationRequirements`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigurationRequirements {
    /// The kind of Mac.
    pub hardware_model: HardwareModel,
    /// vCPUs.
    pub minimum_supported_cpu_count: usize,
    /// Memory in bytes.
    pub minimum_supported_memory_size: u64,
}

/// What macOS is installed from: an IPSW file. Apple: `VZMacOSRestoreImage`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreImage {
    /// Its address: a file's, or one that it can be downloaded from.
    pub url: String,
    /// The build of macOS, such as `22A380`.
    pub build_version: String,
    /// The version of macOS: major, minor, patch.
    pub operating_system_version: (isize, isize, isize),
    /// Whether this Mac can install it.
    pub is_supported: bool,
    /// What the most capable guest of it needs that this Mac can run, if it can run one.
    pub most_featureful_supported_configuration: Option<ConfigurationRequirements>,
}

impl RestoreImage {
    /// Looks at a file. Apple: `load(from:)`.
    ///
    /// # Errors
    /// What the framework says: there is no such file, or it is none of macOS.
    pub fn load(path: impl AsRef<Path>) -> Completion<Self> {
        let address = require_apple_silicon("A macOS guest").and_then(|()| url(path.as_ref()));
        let address = match address {
            Ok(address) => address,
            Err(error) => return Completion::ended(Err(error)),
        };
        let (completer, completion) = Completion::new();
        let handler = Self::handler("Could not load the restore image", completer);
        // SAFETY: the address is one of a file; the handler may be called on any thread, once, and is copied by whoever keeps it.
        unsafe { VZMacOSRestoreImage::loadFileURL_completionHandler(&address, &handler) };
        completion
    }

    /// Asks Apple for the newest one that this Mac can install; its address is where it can be downloaded from. Apple:
    /// `fetchLatestSupported`.
    ///
    /// # Errors
    /// What the framework says: Apple cannot be reached, or has none.
    pub fn fetch_latest_supported() -> Completion<Self> {
        if let Err(error) = require_apple_silicon("A macOS guest") {
            return Completion::ended(Err(error));
        }
        let (completer, completion) = Completion::new();
        let handler = Self::handler("Could not ask for the newest restore image", completer);
        // SAFETY: the handler may be called on any thread, once, and is copied by whoever keeps it.
        unsafe { VZMacOSRestoreImage::fetchLatestSupportedWithCompletionHandler(&handler) };
        completion
    }

    fn handler(attempt: &'static str, completer: Completer<Self>) -> RcBlock<dyn Fn(*mut VZMacOSRestoreImage, *mut NSError)> {
        let completer = Mutex::new(Some(completer));
        RcBlock::new(move |image: *mut VZMacOSRestoreImage, error: *mut NSError| {
            // SAFETY: the framework lends an image, or gives none.
            let image = unsafe { image.as_ref() };
            // SAFETY: the framework lends an error, or gives none.
            let failure = unsafe { result(attempt, error) };
            let result = image.map(Self::of).ok_or_else(|| failure.err().unwrap_or_else(|| Error::new(ErrorKind::Host, attempt)));
            if let Some(completer) = completer.lock().unwrap_or_else(PoisonError::into_inner).take() {
                completer.end(result);
            }
        })
    }

    fn of(image: &VZMacOSRestoreImage) -> Self {
        // SAFETY: they take nothing, and an image does not change.
        unsafe {
            let version = image.operatingSystemVersion();
            let requirements = image.mostFeaturefulSupportedConfiguration().map(|requirements| ConfigurationRequirements {
                hardware_model: HardwareModel::of(&requirements.hardwareModel()),
                minimum_supported_cpu_count: requirements.minimumSupportedCPUCount(),
                minimum_supported_memory_size: requirements.minimumSupportedMemorySize(),
            });
            Self {
                url: image.URL().absoluteString().map(|text| text.to_string()).unwrap_or_default(),
                build_version: image.buildVersion().to_string(),
                operating_system_version: (version.majorVersion, version.minorVersion, version.patchVersion),
                is_supported: image.isSupported(),
                most_featureful_supported_configuration: requirements,
            }
        }
    }
}

/// The framework's installer.
type Installer = Arc<OnQueue<Retained<VZMacOSInstaller>>>;

/// Installs macOS to a machine's disk. Apple: `VZMacOSInstaller`.
pub struct MacOsInstaller {
    machine: VirtualMachine,
    image: PathBuf,
    /// The installation, once it has begun.
    progress: Arc<Mutex<Option<Carried<Retained<NSProgress>>>>>,
    /// Kept while it installs.
    installer: Arc<Mutex<Option<Installer>>>,
}

impl fmt::Debug for MacOsInstaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacOsInstaller({})", self.image.display())
    }
}

impl MacOsInstaller {
    /// An installer of this restore image, a file, to the first disk of this machine, which is a Mac and is stopped.
    pub fn new(machine: &VirtualMachine, restore_image: impl AsRef<Path>) -> Self {
        Self { machine: machine.clone(), image: restore_image.as_ref().to_owned(), progress: Arc::default(), installer: Arc::default() }
    }

    /// Installs. The machine runs meanwhile, and is to be left alone; it has stopped when this ends.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidState`] where this has been called before or the machine is not stopped, or what the framework says.
    pub fn install(&self) -> Completion<()> {
        let address = require_apple_silicon("A macOS guest").and_then(|()| url(&self.image));
        let address: Retained<NSURL> = match address {
            Ok(address) => address,
            Err(error) => return Completion::ended(Err(error)),
        };
        let (completer, completion) = Completion::new();
        let (progress, kept) = (Arc::clone(&self.progress), Arc::clone(&self.installer));
        let machine = self.machine.control().machine();
        let keeper = Arc::clone(machine);
        machine.later_with(address, move |machine, address| {
            let mut place = progress.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: this is the machine's queue.
            let is_stopped = unsafe { machine.object.state() } == VZVirtualMachineState::Stopped;
            if place.is_some() || !is_stopped {
                let why = "macOS is installed once by an installer, to a machine that is stopped";
                completer.end(Err(Error::new(ErrorKind::InvalidState, why)));
                return;
            }
            // SAFETY: this is the machine's queue; the machine is stopped, and the address is one of a file. That the machine is a Mac is
            // what the configuration says, or the framework refuses.
            let installer =
                unsafe { VZMacOSInstaller::initWithVirtualMachine_restoreImageURL(VZMacOSInstaller::alloc(), &machine.object, &address) };
            // SAFETY: as above.
            *place = Some(Carried::new(unsafe { installer.progress() }));
            drop(place);
            let ending = Cell::new(Some(completer));
            let over = Arc::clone(&kept);
            let handler = RcBlock::new(move |error: *mut NSError| {
                // SAFETY: the framework lends an error, or gives none.
                let result = unsafe { result("Could not install macOS", error) };
                over.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(completer) = ending.take() {
                    completer.end(result);
                }
            });
            // SAFETY: as above; the handler is called once, on this queue, and is copied by whoever keeps it.
            unsafe { installer.installWithCompletionHandler(&handler) };
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper.beside(installer));
        });
        completion
    }

    /// How much is done, from 0 to 1.
    pub fn fraction_completed(&self) -> f64 {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        // A progress may be looked at on every thread.
        progress.as_ref().map_or(0.0, |progress| progress.get().fractionCompleted())
    }

    /// Ends the installation, if one is under way: it fails with [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        // Before it has begun this would be an exception.
        if let Some(progress) = &*self.progress.lock().unwrap_or_else(PoisonError::into_inner) {
            progress.get().cancel();
        }
    }
}

impl VirtualMachine {
    /// The framework's own machine, for `VZVirtualMachineView`, which shows it and takes its keyboard. Whatever else is done with it has to
    /// happen on its queue.
    pub fn apple_object(&self) -> Option<Retained<VZVirtualMachine>> {
        // Counting references is what every thread may do.
        self.control().machine().elsewhere().map(|machine| machine.object.clone())
    }
}
