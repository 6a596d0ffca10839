//! Configurations and attachments, made the framework's.

use std::fs::File;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2::{AnyThread, Message, available};
use objc2_foundation::{NSArray, NSData, NSDictionary, NSFileHandle, NSString, NSURL};
use objc2_virtualization::*;

use super::delegate::{Delegate, Published};
use super::error::{failed, url};
use super::{mac, require_apple_silicon, require_host};
use crate::configuration::{Problems, *};
use crate::error::{Error, ErrorKind, Result};

/// What has to be kept for as long as the machine: the framework does not.
pub type Delegates = Vec<Retained<Delegate>>;

fn newer(what: &str, version: &str) -> Error {
    Error::new(ErrorKind::NotSupported, format!("{what} needs macOS {version} or later"))
}

/// Arrays are of what their elements are a kind of.
fn array<T: Message>(elements: &[Retained<T>]) -> Retained<NSArray<T>> {
    NSArray::from_retained_slice(elements)
}

/// A descriptor of its own for the framework.
fn handle(descriptor: impl AsFd) -> Result<Retained<NSFileHandle>> {
    let ours: OwnedFd = descriptor
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| Error::because(ErrorKind::Host, "Could not duplicate an attachment's descriptor", error))?;
    Ok(NSFileHandle::initWithFileDescriptor_closeOnDealloc(NSFileHandle::alloc(), ours.into_raw_fd(), true))
}

impl VirtualMachineConfiguration {
    /// Finds what is in the way of saving and restoring machines with this configuration: on a Mac the framework says so, and names one
    /// thing. Apple: `validateSaveRestoreSupport`.
    ///
    /// # Errors
    /// What it says.
    pub fn validate_save_restore_support(&self) -> Result<(), ConfigurationError> {
        Problems::collect(|problems| {
            if let Err(error) = require_save_support(self) {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
                problems.field("configuration").add(format!("{error}{source}"));
            }
        })
    }
}

fn require_save_support(ours: &VirtualMachineConfiguration) -> Result<()> {
    require_apple_silicon("Saving and restoring")?;
    require_host()?;
    if !available!(macos = 14.0) {
        return Err(newer("Saving and restoring", "14"));
    }
    let (theirs, _delegates) = machine(ours, &Published::new())?;
    // SAFETY: the method is there.
    unsafe { theirs.validateSaveRestoreSupportWithError() }.map_err(failed("Something in the machine's configuration cannot be saved"))
}

/// The whole configuration; its problems as the framework sees them are found here too.
pub fn machine(
    ours: &VirtualMachineConfiguration,
    published: &Arc<Published>,
) -> Result<(Retained<VZVirtualMachineConfiguration>, Delegates)> {
    let mut delegates = Delegates::new();
    // SAFETY: it takes nothing.
    let theirs = unsafe { VZVirtualMachineConfiguration::new() };
    let boot_loader = boot_loader(ours.boot_loader.as_ref())?;
    let platform = platform(&ours.platform)?;
    // SAFETY: both are whole, and are copied.
    unsafe {
        theirs.setCPUCount(ours.cpu_count);
        theirs.setMemorySize(ours.memory_size);
        theirs.setBootLoader(Some(&boot_loader));
        theirs.setPlatform(&platform);
    }

    let mut storage = Vec::new();
    for (index, StorageDevice::VirtioBlock(disk)) in ours.storage_devices.iter().enumerate() {
        let attachment = storage_attachment(&disk.attachment, index, published, &mut delegates)?;
        // SAFETY: the attachment is whole.
        let device =
            unsafe { VZVirtioBlockDeviceConfiguration::initWithAttachment(VZVirtioBlockDeviceConfiguration::alloc(), &attachment) };
        // SAFETY: the identifier was checked: it is ASCII and short enough.
        unsafe { device.setBlockDeviceIdentifier(&NSString::from_str(&disk.identifier)) };
        storage.push(Retained::into_super(device));
    }
    let mut networks = Vec::new();
    for NetworkDevice::Virtio(card) in &ours.network_devices {
        let attachment = network_attachment(&card.attachment)?;
        // SAFETY: it takes nothing.
        let device = unsafe { VZVirtioNetworkDeviceConfiguration::new() };
        let address = NSString::from_str(&card.mac_address.to_string());
        // SAFETY: it takes any text.
        let address = unsafe { VZMACAddress::initWithString(VZMACAddress::alloc(), &address) };
        let address = address.ok_or_else(|| Error::new(ErrorKind::Internal, "A network card's address was not understood"))?;
        // SAFETY: both are whole.
        unsafe {
            device.setMACAddress(&address);
            device.setAttachment(Some(&attachment));
        }
        networks.push(Retained::into_super(device));
    }
    let mut ports = Vec::new();
    for port in &ours.serial_ports {
        let SerialPort::VirtioConsole(port) = port else { continue };
        let attachment = serial_attachment(&port.attachment)?;
        // SAFETY: it takes nothing.
        let device = unsafe { VZVirtioConsoleDeviceSerialPortConfiguration::new() };
        // SAFETY: the attachment is whole.
        unsafe { device.setAttachment(Some(&attachment)) };
        ports.push(Retained::into_super(device));
    }
    let mut consoles = Vec::new();
    for ConsoleDevice::Virtio(console) in &ours.console_devices {
        consoles.push(Retained::into_super(console_device(console)?));
    }
    let mut shares = Vec::new();
    for DirectorySharingDevice::VirtioFileSystem(device) in &ours.directory_sharing_devices {
        let tag = NSString::from_str(&device.tag);
        // SAFETY: the tag was checked.
        let theirs = unsafe { VZVirtioFileSystemDeviceConfiguration::initWithTag(VZVirtioFileSystemDeviceConfiguration::alloc(), &tag) };
        let share = device.share.as_ref().map(directory_share).transpose()?;
        // SAFETY: the share is whole.
        unsafe { theirs.setShare(share.as_deref()) };
        shares.push(Retained::into_super(theirs));
    }
    // SAFETY: they take nothing.
    let (entropy, balloon, socket) = unsafe {
        (
            VZVirtioEntropyDeviceConfiguration::new(),
            VZVirtioTraditionalMemoryBalloonDeviceConfiguration::new(),
            VZVirtioSocketDeviceConfiguration::new(),
        )
    };
    let entropy: Vec<_> = ours.entropy_devices.iter().map(|EntropyDevice::Virtio| Retained::into_super(entropy.clone())).collect();
    let balloons: Vec<_> =
        ours.memory_balloon_devices.iter().map(|MemoryBalloonDevice::Virtio| Retained::into_super(balloon.clone())).collect();
    let sockets: Vec<_> = ours.socket_devices.iter().map(|SocketDevice::Virtio| Retained::into_super(socket.clone())).collect();
    let graphics = mac::graphics(&ours.graphics_devices)?;
    let keyboards = mac::keyboards(&ours.keyboards)?;
    let pointing = mac::pointing_devices(&ours.pointing_devices)?;
    // SAFETY: everything in the arrays is whole, and is copied.
    unsafe {
        theirs.setStorageDevices(&array(&storage));
        theirs.setNetworkDevices(&array(&networks));
        theirs.setSerialPorts(&array(&ports));
        theirs.setConsoleDevices(&array(&consoles));
        theirs.setDirectorySharingDevices(&array(&shares));
        theirs.setEntropyDevices(&array(&entropy));
        theirs.setMemoryBalloonDevices(&array(&balloons));
        theirs.setSocketDevices(&array(&sockets));
        theirs.setGraphicsDevices(&array(&graphics));
        theirs.setKeyboards(&array(&keyboards));
        theirs.setPointingDevices(&array(&pointing));
    }
    // A machine made of an invalid configuration is an exception, which nothing here survives.
    // SAFETY: it takes nothing.
    unsafe { theirs.validateWithError() }.map_err(failed(
        "The configuration of the machine is not valid; a program that is not signed with the entitlement \
         com.apple.security.virtualization may have none",
    ))?;
    Ok((theirs, delegates))
}

fn boot_loader(ours: Option<&BootLoader>) -> Result<Retained<VZBootLoader>> {
    match ours {
        None => Err(Error::new(ErrorKind::InvalidConfiguration, "The machine has nothing to boot")),
        Some(BootLoader::Linux(loader)) => {
            let kernel = url(&loader.kernel)?;
            // SAFETY: the address is one of a file.
            let theirs = unsafe { VZLinuxBootLoader::initWithKernelURL(VZLinuxBootLoader::alloc(), &kernel) };
            let ramdisk = loader.initial_ramdisk.as_deref().map(url).transpose()?;
            // SAFETY: as above.
            unsafe {
                theirs.setInitialRamdiskURL(ramdisk.as_deref());
                theirs.setCommandLine(&NSString::from_str(&loader.command_line));
            }
            Ok(Retained::into_super(theirs))
        }
        Some(BootLoader::MacOs) => {
            require_apple_silicon("A macOS guest")?;
            // SAFETY: it takes nothing.
            Ok(Retained::into_super(unsafe { VZMacOSBootLoader::new() }))
        }
    }
}

fn platform(ours: &Platform) -> Result<Retained<VZPlatformConfiguration>> {
    match ours {
        Platform::Generic(platform) => {
            // SAFETY: it takes nothing.
            let theirs = unsafe { VZGenericPlatformConfiguration::new() };
            let data = NSData::with_bytes(platform.machine_identifier.data_representation());
            // SAFETY: it takes any bytes.
            let identifier = unsafe { VZGenericMachineIdentifier::initWithDataRepresentation(VZGenericMachineIdentifier::alloc(), &data) };
            let why = "The machine identifier is none of Apple's: those of other systems cannot be used on a Mac";
            let identifier = identifier.ok_or_else(|| Error::new(ErrorKind::InvalidConfiguration, why))?;
            // SAFETY: it is whole.
            unsafe { theirs.setMachineIdentifier(&identifier) };
            if platform.nested_virtualization_enabled {
                // SAFETY: it was asked whether this Mac has it, and so has the method.
                unsafe { theirs.setNestedVirtualizationEnabled(true) };
            }
            Ok(Retained::into_super(theirs))
        }
        Platform::Mac(platform) => mac::platform(platform),
    }
}

fn storage_attachment(
    ours: &StorageAttachment,
    device: usize,
    published: &Arc<Published>,
    delegates: &mut Delegates,
) -> Result<Retained<VZStorageDeviceAttachment>> {
    // There are only these two where there is no file.
    let synchronization = |mode: SynchronizationMode| match mode {
        SynchronizationMode::None => VZDiskSynchronizationMode::None,
        SynchronizationMode::Full | SynchronizationMode::Fsync => VZDiskSynchronizationMode::Full,
    };
    match ours {
        StorageAttachment::DiskImage(image) => {
            if image.image_format() != DiskImageFormat::Raw {
                let why = format!("Apple's framework knows raw disk images only, and {} is to be another", image.path().display());
                return Err(Error::new(ErrorKind::NotSupported, why));
            }
            let caching = match image.caching() {
                CachingMode::Automatic => VZDiskImageCachingMode::Automatic,
                CachingMode::Uncached => VZDiskImageCachingMode::Uncached,
                CachingMode::Cached => VZDiskImageCachingMode::Cached,
            };
            let synchronization = match image.synchronization() {
                SynchronizationMode::Full => VZDiskImageSynchronizationMode::Full,
                SynchronizationMode::Fsync => VZDiskImageSynchronizationMode::Fsync,
                SynchronizationMode::None => VZDiskImageSynchronizationMode::None,
            };
            // SAFETY: the address is one of a file.
            let theirs = unsafe {
                VZDiskImageStorageDeviceAttachment::initWithURL_readOnly_cachingMode_synchronizationMode_error(
                    VZDiskImageStorageDeviceAttachment::alloc(),
                    &*url(image.path())?,
                    image.access() == Access::ReadOnly,
                    caching,
                    synchronization,
                )
            };
            let theirs = theirs.map_err(failed(format!("Could not use the disk image {}", image.path().display())))?;
            Ok(Retained::into_super(theirs))
        }
        StorageAttachment::BlockDevice(block) => {
            if !available!(macos = 14.0) {
                return Err(newer("A block device", "14"));
            }
            // SAFETY: the handle is open, and stays so for as long as it is held.
            let theirs = unsafe {
                VZDiskBlockDeviceStorageDeviceAttachment::initWithFileHandle_readOnly_synchronizationMode_error(
                    VZDiskBlockDeviceStorageDeviceAttachment::alloc(),
                    &*handle(block.file())?,
                    block.access() == Access::ReadOnly,
                    synchronization(block.synchronization()),
                )
            };
            Ok(Retained::into_super(theirs.map_err(failed("Could not use the block device"))?))
        }
        StorageAttachment::Nbd(server) => {
            if !available!(macos = 14.0) {
                return Err(newer("A network block device", "14"));
            }
            let address = NSURL::URLWithString(&NSString::from_str(server.url()));
            let address = address.ok_or_else(|| Error::new(ErrorKind::InvalidConfiguration, "The address of a server is none"))?;
            // SAFETY: it looks at the address itself.
            let theirs = unsafe {
                VZNetworkBlockDeviceStorageDeviceAttachment::initWithURL_timeout_forcedReadOnly_synchronizationMode_error(
                    VZNetworkBlockDeviceStorageDeviceAttachment::alloc(),
                    &address,
                    server.timeout_duration().as_secs_f64(),
                    server.allowed_access() == Access::ReadOnly,
                    synchronization(server.synchronization()),
                )
            };
            let theirs = theirs.map_err(failed(format!("Could not use the network block device {}", server.url())))?;
            let delegate = Delegate::new(Arc::clone(published), device);
            // SAFETY: the delegate is kept for as long as the machine.
            unsafe { theirs.setDelegate(Some(ProtocolObject::from_ref(&*delegate))) };
            delegates.push(delegate);
            Ok(Retained::into_super(theirs))
        }
    }
}

/// What a network card is connected to.
pub fn network_attachment(ours: &NetworkAttachment) -> Result<Retained<VZNetworkDeviceAttachment>> {
    match ours {
        // SAFETY: it takes nothing.
        NetworkAttachment::Nat(_) => Ok(Retained::into_super(unsafe { VZNATNetworkDeviceAttachment::new() })),
        NetworkAttachment::FileHandle(attachment) => {
            let socket = handle(attachment.socket())?;
            // SAFETY: that it is a connected socket for datagrams was checked.
            let theirs =
                unsafe { VZFileHandleNetworkDeviceAttachment::initWithFileHandle(VZFileHandleNetworkDeviceAttachment::alloc(), &socket) };
            // SAFETY: the number was checked.
            unsafe { theirs.setMaximumTransmissionUnit(isize::from_ne_bytes(usize::from(attachment.mtu()).to_ne_bytes())) };
            Ok(Retained::into_super(theirs))
        }
        NetworkAttachment::Tap(_) => Err(Error::new(ErrorKind::NotSupported, "A Mac has no tap interfaces")),
    }
}

/// What a port is attached to.
pub fn serial_attachment(ours: &SerialAttachment) -> Result<Retained<VZSerialPortAttachment>> {
    let end = |file: &Option<Arc<File>>| file.as_deref().map(handle).transpose();
    let (input, output) = (end(&ours.input)?, end(&ours.output)?);
    // SAFETY: the handles are open, and stay so for as long as they are held.
    let theirs = unsafe {
        VZFileHandleSerialPortAttachment::initWithFileHandleForReading_fileHandleForWriting(
            VZFileHandleSerialPortAttachment::alloc(),
            input.as_deref(),
            output.as_deref(),
        )
    };
    Ok(Retained::into_super(theirs))
}

fn console_device(ours: &VirtioConsoleDevice) -> Result<Retained<VZVirtioConsoleDeviceConfiguration>> {
    // SAFETY: it takes nothing.
    let theirs = unsafe { VZVirtioConsoleDeviceConfiguration::new() };
    // SAFETY: as above.
    let ports = unsafe { theirs.ports() };
    // SAFETY: the number was checked.
    unsafe { ports.setMaximumPortCount(ours.port_count()) };
    for (number, port) in &ours.ports {
        let attachment = port.attachment.as_ref().map(serial_attachment).transpose()?;
        // SAFETY: it takes nothing.
        let theirs = unsafe { VZVirtioConsolePortConfiguration::new() };
        let name = port.name.as_deref().map(NSString::from_str);
        // SAFETY: everything is whole, and the number is below the most.
        unsafe {
            theirs.setName(name.as_deref());
            theirs.setIsConsole(port.is_console);
            theirs.setAttachment(attachment.as_deref());
            ports.setObject_atIndexedSubscript(Some(&theirs), *number as usize);
        }
    }
    Ok(theirs)
}

/// What a file system device shares. Names and directories were checked: those that cannot be are an exception.
pub fn directory_share(ours: &DirectoryShare) -> Result<Retained<VZDirectoryShare>> {
    let shared = |directory: &SharedDirectory| {
        let address = url(&directory.path)?;
        // SAFETY: the address is one of a file.
        Ok::<_, Error>(unsafe { VZSharedDirectory::initWithURL_readOnly(VZSharedDirectory::alloc(), &address, directory.read_only) })
    };
    match ours {
        DirectoryShare::Single(directory) => {
            let directory = shared(directory)?;
            // SAFETY: it is whole.
            let share = unsafe { VZSingleDirectoryShare::initWithDirectory(VZSingleDirectoryShare::alloc(), &directory) };
            Ok(Retained::into_super(share))
        }
        DirectoryShare::Multiple(directories) => {
            let (mut names, mut all) = (Vec::new(), Vec::new());
            for (name, directory) in directories {
                let name = NSString::from_str(name);
                // SAFETY: it takes any text.
                unsafe { VZMultipleDirectoryShare::validateName_error(&name) }
                    .map_err(failed("A shared directory cannot have this name"))?;
                names.push(name);
                all.push(shared(directory)?);
            }
            let names: Vec<&NSString> = names.iter().map(|name| &**name).collect();
            let directories = NSDictionary::from_retained_objects(&names, &all);
            // SAFETY: the names were checked.
            let share = unsafe { VZMultipleDirectoryShare::initWithDirectories(VZMultipleDirectoryShare::alloc(), &directories) };
            Ok(Retained::into_super(share))
        }
        DirectoryShare::Rosetta => mac::rosetta_share(),
    }
}
