"""What `davy doctor` says about the miner: whether Label Studio answers and accepts the token."""

from __future__ import annotations

from davy.doctor import Check
from davy.errors import DavyError
from davy.runtime import Runtime


def checks(runtime: Runtime) -> list[Check]:
    """Ask the Label Studio of the settings, when there is one."""
    settings = runtime.settings.labelstudio
    if not settings.url:
        remedy = "set DAVY_LABELSTUDIO_URL and DAVY_LABELSTUDIO_API_KEY, or answer with `davy labels import`"
        return [Check("Label Studio", "warning", "not configured: candidates wait in Davy's queue", remedy)]
    try:
        from davy_miner.labelstudio.client import SdkTool

        tool = SdkTool(settings.url, settings.api_key, timeout=min(settings.timeout_seconds, 10.0))
        try:
            projects = tool.projects("davy")
        finally:
            tool.close()
    except DavyError as error:
        return [Check("Label Studio", "wrong", settings.url, f"{error.field}: {error.remedy}")]
    return [Check("Label Studio", "ok", f"{settings.url}, {len(projects)} projects of Davy's")]
