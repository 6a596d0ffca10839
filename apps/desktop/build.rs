//! Compiles the windows.

fn main() {
    let configuration =
        slint_build::CompilerConfiguration::new().with_style("fluent".into()).embed_resources(slint_build::EmbedResourcesKind::EmbedFiles);
    if let Err(error) = slint_build::compile_with_config("ui/app.slint", configuration) {
        println!("cargo::error=Cannot compile the windows: {error}");
        std::process::exit(1);
    }
}
