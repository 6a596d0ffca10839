//! The texts that are not labels of commands or settings, in English.
//!
//! One style: sentence case, no full stop at the end of a label or a single sentence, the person's words (machine, disk, display).

use crate::message::texts;

texts! {
    REFUSED_NO_MACHINE = "refused.no_machine", "Select a machine first";
    REFUSED_NOT_RUNNING = "refused.not_running", "The machine is not running";
    REFUSED_RUNNING = "refused.running", "The machine is running; stop it first";
    REFUSED_ON_ITS_WAY = "refused.on_its_way", "The machine is busy; wait a moment";
    REFUSED_PAUSED = "refused.paused", "The machine is paused; resume it first";
    REFUSED_NOT_PAUSED = "refused.not_paused", "The machine is not paused";
    REFUSED_BROKEN = "refused.broken", "Its configuration cannot be read";
    REFUSED_UNAVAILABLE = "refused.unavailable", "Its files are not there; connect the disk that they are on";
    REFUSED_WORKING = "refused.working", "Something is being done to the machine; wait for it or cancel it";
    REFUSED_NOT_REGISTERED = "refused.not_registered", "Only machines that lie outside the library can be removed from the list";
    REFUSED_UNABLE = "refused.unable", "This machine cannot do that";

    GROUP_ACTIVE = "home.group.active", "Active";
    GROUP_OTHERS = "home.group.others", "All machines";
    MARK_STOPPED = "mark.stopped", "Stopped";
    MARK_STARTING = "mark.starting", "Starting";
    MARK_RUNNING = "mark.running", "Running";
    MARK_PAUSING = "mark.pausing", "Pausing";
    MARK_PAUSED = "mark.paused", "Paused";
    MARK_RESUMING = "mark.resuming", "Resuming";
    MARK_STOPPING = "mark.stopping", "Stopping";
    MARK_SAVING = "mark.saving", "Saving";
    MARK_RESTORING = "mark.restoring", "Restoring";
    MARK_FAILED = "mark.failed", "Failed";
    MARK_BUSY = "mark.busy", "In use";
    MARK_BROKEN = "mark.broken", "Cannot be read";
    MARK_UNAVAILABLE = "mark.unavailable", "Not available";

    TAG_ELSEWHERE = "tag.elsewhere", "Outside the library";
    TAG_ATTENTION = "tag.attention", "Needs attention";

    EMPTY_TITLE = "home.empty.title", "No machines yet";
    EMPTY_HELP = "home.empty.help", "Make one, import one, or drop a bundle, a disk image or an ISO here";
    NO_MATCH_TITLE = "home.no_match.title", "No machine matches";
    NO_MATCH_HELP = "home.no_match.help", "Search for less, or clear the search";
    CLEAR_SEARCH = "home.no_match.clear", "Clear search";

    FACT_PROCESSOR = "fact.processor", "Processor";
    FACT_MEMORY = "fact.memory", "Memory";
    FACT_DISK = "fact.disk", "Disk";
    FACT_CD = "fact.cd", "CD";
    FACT_DRIVE = "fact.drive", "Drive";
    FACT_NETWORK = "fact.network", "Network";
    FACT_SHARED_FOLDER = "fact.shared_folder", "Shared folder";
    FACT_RUNS_SINCE = "fact.runs_since", "Running for";
    FACT_LAST_RUN = "fact.last_run", "Last run";
    FACT_SANDBOX = "fact.sandbox", "Sandbox";
    FACT_PATH = "fact.path", "Location";
    CORES_ONE = "fact.cores_one", "1 core";
    CORES = "fact.cores", "{} cores";
    CORES_AUTOMATIC = "fact.cores_automatic", "Automatic";
    CORES_BY = "fact.cores_by", "{} · {}";
    DISK_USED = "fact.disk_used", "{} of {}";
    DRIVE_EMPTY = "fact.drive_empty", "Empty";
    SHARED_READ_ONLY = "fact.shared_read_only", "{} (read-only)";
    FORWARDED = "fact.forwarded", "{} port {} leads to {}";
    NETWORK_BRIDGED = "fact.network_bridged", "Bridged to {}";
    NETWORK_NAT = "fact.network_nat", "Shared with this computer";
    NETWORK_HOST = "fact.network_host", "This computer only";
    SANDBOX_INCOMPLETE = "fact.sandbox_incomplete", "Incomplete: {}";
    MINUTES = "time.minutes", "{} min";
    HOURS = "time.hours", "{} h";
    DAYS = "time.days", "{} d";
    MOMENTS = "time.moments", "Less than a minute";

    WORK_CREATE = "work.create", "Making \"{}\"";
    WORK_IMPORT = "work.import", "Importing \"{}\"";
    WORK_CLONE = "work.clone", "Cloning \"{}\"";
    WORK_EXPORT = "work.export", "Exporting \"{}\"";
    WORK_MOVE = "work.move", "Moving \"{}\"";
    WORK_DELETE = "work.delete", "Moving \"{}\" to the trash";
    WORK_START = "work.start", "Starting \"{}\"";
    WORK_STOP = "work.stop", "Shutting down \"{}\"";
    WORK_RESTART = "work.restart", "Restarting \"{}\"";

    QUESTION_DELETE = "question.delete", "Move \"{}\" to the trash?";
    QUESTION_DELETE_HELP = "question.delete.help", "Its disks go with it; from the trash both can be brought back";
    QUESTION_FORCE_STOP = "question.force_stop", "Force \"{}\" off?";
    QUESTION_FORCE_STOP_HELP = "question.force_stop.help", "The guest loses what it has not written to its disks, as in a power cut";
    QUESTION_RESET = "question.reset", "Reset \"{}\"?";
    QUESTION_RESET_HELP = "question.reset.help", "The guest starts anew and loses what it has not written to its disks";

    QUESTION_CLOSE = "question.close", "Shut \"{}\" down, too?";
    QUESTION_CLOSE_HELP = "question.close.help", "It goes on without its window; the list opens that again";

    WINDOW_CONNECTING = "window.connecting", "Connecting to the display";
    WINDOW_LOST = "window.lost", "The connection to the display was lost";
    WINDOW_LOST_HELP = "window.lost.help", "The machine may run on";
    WINDOW_OFF = "window.off", "The display is off";
    WINDOW_OFF_HELP = "window.off.help", "The guest has switched it off, or has not drawn anything yet";
    WINDOW_UNREADABLE = "window.unreadable", "The display cannot be shown";
    WINDOW_CAPTURED = "window.captured", "Keyboard captured · {} releases it";

    STEP_SYSTEM = "wizard.step.system", "Operating system";
    STEP_INSTALLER = "wizard.step.installer", "Installer";
    STEP_HARDWARE = "wizard.step.hardware", "Hardware";
    STEP_STORAGE = "wizard.step.storage", "Storage";
    STEP_SHARING = "wizard.step.sharing", "Sharing";
    STEP_SUMMARY = "wizard.step.summary", "Summary";
    SYSTEM_LINUX = "wizard.system.linux", "Linux";
    SYSTEM_LINUX_HELP = "wizard.system.linux.help", "Any distribution, from an ISO, a disk or a kernel";
    SYSTEM_WINDOWS = "wizard.system.windows", "Windows";
    SYSTEM_WINDOWS_HELP = "wizard.system.windows.help", "10 and 11, with TPM and Secure Boot set up";
    SYSTEM_MACOS = "wizard.system.macos", "macOS";
    SYSTEM_MACOS_HELP = "wizard.system.macos.help", "From Apple's restore image";
    SYSTEM_MACOS_REFUSED = "wizard.system.macos.refused", "Needs a Mac with Apple silicon";
    SYSTEM_OTHER = "wizard.system.other", "Something else";
    SYSTEM_OTHER_HELP = "wizard.system.other.help", "BSD, DOS, classic Mac OS and other processors";
    VIRTUALIZE_HELP = "wizard.virtualize.help", "Runs at full speed, for {} systems on this computer";
    VIRTUALIZE_FOREIGN = "wizard.virtualize.foreign", "This computer's processor does not run {} systems; they are emulated, which is slower";
    VIRTUALIZE_NOT_HERE = "wizard.virtualize.not_here", "{}";
    VIRTUALIZE_ASKING = "wizard.virtualize.asking", "Looking whether this computer can";
    EMULATE_NATIVE_ONLY = "wizard.emulate.native_only", "Guests of macOS cannot be emulated";
    PROBLEM_INSTALLER = "wizard.problem.installer", "Choose what to install from, or that there is nothing yet";
    PROBLEM_KERNEL = "wizard.problem.kernel", "Choose a kernel";
    PROBLEM_DISK_IMAGE = "wizard.problem.disk_image", "Choose the disk image to use";
    PROBLEM_MEMORY_MOST = "wizard.problem.memory_most", "{} is more than this computer has ({}). The machine could not start";
    PROBLEM_MEMORY_LEAST = "wizard.problem.memory_least", "{} is too little for such a system to start";
    PROBLEM_CORES_MOST = "wizard.problem.cores_most", "{} cores are more than this computer has ({}); it would be slower, not faster";
    PROBLEM_DISK_SIZE = "wizard.problem.disk_size", "Choose a size from {} to {}";
    MEMORY_RANGE = "wizard.memory.range", "{} to {}";
    MEMORY_RANGE_FREE = "wizard.memory.range_free", "{} to {}; {} are free now";
    CORES_AUTO_HERE = "wizard.cores.auto", "Automatic is {} on this computer";
    SUMMARY_NAME = "wizard.summary.name", "Name";
    SUMMARY_SYSTEM = "wizard.summary.system", "System";
    SUMMARY_PROCESSOR = "wizard.summary.processor", "Processor";
    SUMMARY_EMULATED = "wizard.summary.emulated", "{}, emulated";
    SUMMARY_VIRTUALIZED = "wizard.summary.virtualized", "{}, virtualized";
    SUMMARY_INSTALLER = "wizard.summary.installer", "Installer";
    SUMMARY_NO_INSTALLER = "wizard.summary.no_installer", "None";
    SUMMARY_DISK_NEW = "wizard.summary.disk_new", "{}, new";
    SUMMARY_DISK_COPY = "wizard.summary.disk_copy", "Copy of {}";
    SUMMARY_NO_DISK = "wizard.summary.no_disk", "None";
    SUMMARY_NOT_SHARED = "wizard.summary.not_shared", "None";
    SUMMARY_MACHINE = "wizard.summary.machine", "Machine type";
    SUMMARY_DISPLAY = "wizard.summary.display", "Display";
    SUMMARY_FIRMWARE = "wizard.summary.firmware", "Firmware";
    SUMMARY_UEFI = "wizard.summary.uefi", "UEFI";
    SUMMARY_UEFI_TPM = "wizard.summary.uefi_tpm", "UEFI with Secure Boot and TPM";
    SUMMARY_BIOS = "wizard.summary.bios", "The machine's own";

    EDITOR_UNCHANGED = "editor.unchanged", "Nothing has changed";
    EDITOR_PROBLEMS_ONE = "editor.problems_one", "Correct the problem first";
    EDITOR_PROBLEMS = "editor.problems", "Correct the {} problems first";
    EDITOR_DEVICE = "editor.device", "{} · {}";
    EDITOR_RESETS = "editor.resets", "This also sets processor model, firmware, display, network and sound to what suits {}";
    EDITOR_MEMORY_FREE = "editor.memory_free", "{} are free now";
    EDITOR_CONFLICT = "editor.conflict", "The settings were changed by another program meanwhile";

    PREFER_APPEARANCE = "preferences.appearance", "Appearance";
    PREFER_APPEARANCE_HELP = "preferences.appearance.help", "Light or dark";
    PREFER_SYSTEM = "preferences.appearance.system", "As the system";
    PREFER_LIGHT = "preferences.appearance.light", "Light";
    PREFER_DARK = "preferences.appearance.dark", "Dark";
    PREFER_SCALING = "preferences.scaling", "Picture";
    PREFER_SCALING_HELP = "preferences.scaling.help", "How large a display is shown at first";
    PREFER_FIT = "preferences.scaling.fit", "Fit the window";
    PREFER_INTEGER = "preferences.scaling.integer", "Whole multiples only";
    PREFER_ACTUAL = "preferences.scaling.actual", "Actual size";
    PREFER_CLOSING = "preferences.closing", "When a window is closed";
    PREFER_CLOSING_HELP = "preferences.closing.help", "What becomes of the machine in it";
    PREFER_LEAVE = "preferences.closing.leave", "Leave it running";
    PREFER_SHUT_DOWN = "preferences.closing.shut_down", "Shut it down";
    PREFER_ASK = "preferences.closing.ask", "Ask";
    PREFER_RELEASE = "preferences.release", "Release keys";
    PREFER_RELEASE_HELP = "preferences.release.help", "Give keyboard and mouse back to this computer";
    PREFER_CAPTURE_FULL_SCREEN = "preferences.capture_full_screen", "Capture in full screen";
    PREFER_CAPTURE_FULL_SCREEN_HELP = "preferences.capture_full_screen.help", "The guest gets the keys that this computer takes otherwise";
    PREFER_CAPTURE_FOCUS = "preferences.capture_focus", "Capture whenever the window is in front";
    PREFER_CAPTURE_FOCUS_HELP = "preferences.capture_focus.help", "For those who work in the guest all day";
    PREFER_FIRST_CLICK = "preferences.first_click", "Pass on the first click";
    PREFER_FIRST_CLICK_HELP = "preferences.first_click.help", "The click that captures the mouse reaches the guest, too";
    PREFER_SEND_KEYS = "preferences.send_keys", "Keys to send";
    PREFER_SEND_KEYS_HELP = "preferences.send_keys.help", "What the menu of a machine's window offers";
    PREFER_UNREADABLE = "preferences.unreadable", "The preferences cannot be read; they are as if nobody had chosen any";
    PREFER_UNKNOWN = "preferences.unknown", "There is no preference \"{}\"";
    PREFER_NOT = "preferences.not", "{} is not possible for \"{}\"";
    PREFER_CHORD = "preferences.chord", "\"{}\": {}";
}
