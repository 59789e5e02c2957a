//! Dialogs about instances.

use super::{Form, Shape, choice, precautions};
use crate::ask::ask;
use crate::layout::{Page, Section};
use maud::html;
use tidemark_ecs::ApiError;

/// A machine that runs elsewhere, and what its disks are served to.
const EXTERNAL: &str = "tidemark.external";

pub(super) async fn create(form: &Form<'_>) -> Result<Page, ApiError> {
    let types = ask!(form.ctx, "DescribeInstanceTypes", describe_instance_types, &[]).instance_types;
    let zones = ask!(
        form.ctx,
        "DescribeZones",
        describe_zones,
        &[("AcceptLanguage", "en-US")]
    )
    .zones;
    let images = ask!(
        form.ctx,
        "DescribeImages",
        describe_images,
        &[("PageSize", "100")]
    )
    .images;
    let mut types: Vec<_> = types
        .into_iter()
        .map(|kind| {
            let shown = match kind.instance_type_id.as_str() {
                EXTERNAL => format!("{EXTERNAL}: a machine that runs elsewhere"),
                id => format!("{id}: {} CPUs, {} GiB", kind.cpu_core_count, kind.memory_size),
            };
            choice(kind.instance_type_id, shown)
        })
        .collect();
    if !types.iter().any(|(id, _)| id == EXTERNAL) {
        types.push(choice(
            EXTERNAL,
            format!("{EXTERNAL}: a machine that runs elsewhere"),
        ));
    }
    let zones: Vec<_> = zones
        .into_iter()
        .map(|zone| choice(zone.zone_id.clone(), zone.zone_id))
        .collect();
    let mut pictures = vec![choice("", "None")];
    pictures.extend(images.into_iter().map(|image| {
        let shown = format!("{} ({})", image.image_name, image.image_id);
        choice(image.image_id, shown)
    }));
    let pairs = key_pairs(form).await.unwrap_or_default();
    let inner = html! {
        (form.text("Instance name", "InstanceName", "2 to 128 letters, digits and : _ . -, beginning with a letter."))
        (form.select("Instance type", "InstanceType", &types, EXTERNAL))
        (form.select("Image", "ImageId", &pictures, ""))
        @if !pairs.is_empty() { (form.select("Key Pair", "KeyPairName", &pairs, "")) }
        (form.select("Zone", "ZoneId", &zones, ""))
        (form.number("System disk, GiB", "SystemDisk.Size", "Empty: as large as its image needs, 40 without one.", ""))
        (form.number("Data disk, GiB", "DataDisk.1.Size", "Empty: none. More can be attached later.", ""))
        (form.tags())
        (precautions(&["To an external machine its disks are served over NBD while the instance is Running; it stands for a machine that you run yourself."]))
    };
    let shape = Shape::new(Section::Instances, "Create Instance", "RunInstances", "Create");
    Ok(form.page(&shape, &inner))
}

/// SSH keys that an image with cloud-init lets in; none where there are none or the caller may not list them.
async fn key_pairs(form: &Form<'_>) -> Result<Vec<(String, String)>, ApiError> {
    let found = ask!(
        form.ctx,
        "DescribeKeyPairs",
        describe_key_pairs,
        &[("PageSize", "50")]
    )
    .key_pairs;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let names = found
        .into_iter()
        .map(|pair| choice(pair.key_pair_name.clone(), pair.key_pair_name));
    Ok(std::iter::once(choice("", "None")).chain(names).collect())
}

pub(super) fn start(form: &Form<'_>) -> Result<Page, ApiError> {
    let id = form.needed("InstanceId")?;
    let shape = Shape::new(Section::Instances, "Start", "StartInstance", "OK");
    Ok(form.confirm(
        &shape,
        &["InstanceId"],
        &format!("Start the instance {id}? Its disks are served to it then."),
    ))
}

pub(super) fn stop(form: &Form<'_>) -> Result<Page, ApiError> {
    let id = form.needed("InstanceId")?;
    let modes = [
        choice(
            "KeepCharging",
            "Retain Instance and Continue Charging After Instance Is Stopped",
        ),
        choice("StopCharging", "No Charges After Instance Is Stopped"),
    ];
    let inner = html! {
        (form.hidden("InstanceId"))
        p { "Stop the instance " code { (id) } "?" }
        (form.select("When it is stopped", "StoppedMode", &modes, "KeepCharging"))
        (form.tick("Force Stop: as a power cut would", "ForceStop", "true", false))
        (precautions(&["While a snapshot of one of its disks is being created, leave the instance as it is."]))
    };
    let shape = Shape::new(Section::Instances, "Stop", "StopInstance", "OK").dangerous();
    Ok(form.page(&shape, &inner))
}

pub(super) fn restart(form: &Form<'_>) -> Result<Page, ApiError> {
    let id = form.needed("InstanceId")?;
    let inner = html! {
        (form.hidden("InstanceId"))
        p { "Restart the instance " code { (id) } "?" }
        (form.tick("Force Restart: as a power cut would", "ForceStop", "true", false))
        (precautions(&["While a snapshot of one of its disks is being created, leave the instance as it is."]))
    };
    let shape = Shape::new(Section::Instances, "Restart", "RebootInstance", "OK").dangerous();
    Ok(form.page(&shape, &inner))
}

pub(super) fn release(form: &Form<'_>) -> Result<Page, ApiError> {
    let id = form.needed("InstanceId")?;
    let shape = Shape::new(Section::Instances, "Release", "DeleteInstance", "Confirm Release");
    let text = format!(
        "Release the instance {id}? Disks that are released with it go, too; the others become Unattached. Snapshots that \
         somebody took stay."
    );
    Ok(form.confirm(&shape.dangerous().then("/instances"), &["InstanceId"], &text))
}

pub(super) fn rename(form: &Form<'_>) -> Result<Page, ApiError> {
    form.needed("InstanceId")?;
    let inner = html! {
        (form.hidden("InstanceId"))
        (form.text("Instance name", "InstanceName", "2 to 128 letters, digits and : _ . -, beginning with a letter."))
        (form.text("Description", "Description", "Empty: as it is."))
    };
    let shape = Shape::new(Section::Instances, "Rename", "ModifyInstanceAttribute", "OK");
    Ok(form.page(&shape, &inner))
}

pub(super) async fn replace_system_disk(form: &Form<'_>) -> Result<Page, ApiError> {
    let id = form.needed("InstanceId")?;
    let images = ask!(
        form.ctx,
        "DescribeImages",
        describe_images,
        &[("PageSize", "100")]
    )
    .images;
    let images: Vec<_> = images
        .into_iter()
        .map(|image| {
            let shown = format!("{} ({})", image.image_name, image.image_id);
            choice(image.image_id, shown)
        })
        .collect();
    let inner = html! {
        (form.hidden("InstanceId"))
        p { "The instance " code { (id) } " gets another system disk, made of an image." }
        (form.select("Image", "ImageId", &images, ""))
        (form.number("System disk, GiB", "SystemDisk.Size", "Empty: as large as its image needs.", ""))
        @if images.is_empty() { p class="hint bad" { "There is no image in this region. Create one from the snapshot of a system disk." } }
        (precautions(&[
            "The system disk that it has now is released with what is on it, and its automatic policy with it. Take a snapshot of it first.",
            "Snapshots that somebody took stay, but cannot be rolled back to: the new disk has another id.",
        ]))
    };
    let shape = Shape::new(
        Section::Instances,
        "Replace System Disk",
        "ReplaceSystemDisk",
        "OK",
    )
    .dangerous();
    Ok(form.page_if(&shape, &inner, !images.is_empty()))
}
