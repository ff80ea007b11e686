"""Every setting of the service, read from `JACOBIAN_*` variables. Only the roots and `app` look at them."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 2**20


class Settings(BaseSettings):
    """The settings; the command line's options have the same names and go before the environment."""

    model_config = SettingsConfigDict(env_prefix="JACOBIAN_", extra="ignore")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(Path("jacobian-data"), description="Folder for graphs and sessions; made if missing.")
    workers: int = Field(0, ge=0, le=64, description="Worker processes; 0 means one for each GPU, else one.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="What workers compute on; `auto` prefers a GPU.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")
    durability: Literal["normal", "full"] = Field(
        "normal",
        description="SQLite's `synchronous`: `full` survives a loss of power, `normal` the death of a process.",
    )

    session_ttl_seconds: float = Field(3600, gt=0, description="How long a session lives after each use, by default.")
    session_ttl_limit_seconds: float = Field(30 * 86400, gt=0, description="The longest that a client may ask for.")
    cache_bytes: int = Field(1024 * MIB, ge=MIB, description="Rows kept in the serving process, in bytes.")
    slice_bytes: int = Field(1024 * MIB, ge=1, description="The largest slice that is answered, in bytes.")
    body_bytes: int = Field(256 * MIB, ge=1, description="The largest body of a request, in bytes.")
    tensor_elements: int = Field(2**26, ge=1, description="The most elements of one tensor in a request.")
    tensor_rank: int = Field(16, ge=1, le=64, description="The most axes of a tensor.")
    graph_nodes: int = Field(20_000, ge=1, description="The most nodes of a graph, subgraphs included.")
    graph_depth: int = Field(64, ge=1, le=500, description="The deepest nesting of subgraphs, or of an expression.")
    expression_length: int = Field(20_000, ge=1, description="The most characters of an expression.")

    queue_length: int = Field(256, ge=1, description="Requests that wait for one worker; more are `busy`.")
    wait_seconds: float = Field(30, gt=0, description="How long a request waits for a worker to be ready.")
    stall_seconds: float = Field(60, gt=0, description="A worker that gets no further for so long is replaced.")
    silence_seconds: float = Field(30, gt=0, description="A worker that gives no sign of life for so long is replaced.")
    worker_memory_bytes: int = Field(
        0,
        ge=0,
        description="The most memory of a worker on a CPU; 0 means nine tenths of the machine's or container's.",
    )
    resident_bytes: int = Field(1024 * MIB, ge=MIB, description="Models and points that a worker holds, in bytes.")
