import type { DeviceIdentity, MigrationStateName, StreamLayout } from "@vfiokit/core/migration";

/** What one end of a migration is, before anything moves: enough to refuse a pair that cannot work. */
export interface EndpointDescription {
  /** How messages name this end: the socket's path, or the URL of a receiver. */
  readonly name: string;
  readonly identity: DeviceIdentity;
  /** MigrationFlags: what VFIO_DEVICE_FEATURE_MIGRATION says. */
  readonly flags: number;
  readonly state: MigrationStateName;
  /** Resets so far, where the end tells. */
  readonly generation: number | undefined;
  /** Whether the server takes part in the two-phase hand-over; libvfio-user's servers do not. */
  readonly handOver: boolean;
  /** `HandOver.instance` of a source: ids of hand-overs from it begin with it. */
  readonly instance?: string;
  /** What its stream is made of, where the server tells. */
  readonly stream?: StreamLayout;
}

/** What is still to be sent in PRE_COPY (VFIO uAPI: struct vfio_precopy_info). Bytes. */
export interface PrecopyProgress {
  /** Of what has never been sent. */
  readonly initialBytes: number;
  /** Of what was sent and has changed. */
  readonly dirtyBytes: number;
}

/** The end that gives the device away. */
export interface MigrationSource {
  describe(): Promise<EndpointDescription>;
  /** @throws ReplyError what the device answers: ECANCELED, when a reset overtook the transition */
  setState(state: "RUNNING" | "PRE_COPY" | "STOP_COPY" | "STOP"): Promise<void>;
  /** In PRE_COPY. Undefined: the server does not tell. */
  precopy(): Promise<PrecopyProgress | undefined>;
  /** Estimated bytes of what STOP_COPY would send; 0 where the server does not tell. */
  dataSize(): Promise<number>;
  /** The next bytes; none: nothing more, for now in PRE_COPY, at all in STOP_COPY. @throws ENODEV after a reset */
  read(): Promise<Uint8Array>;
  /**
   * The commit: from here on the device is stopped for good, whoever comes and goes, until `takeBack`.
   * @param to the target's name, for whoever asks the source later
   * @throws VfioError ECANCELED: it was reset since the image was made
   */
  give(id: string, to?: string): Promise<void>;
  /** Undoes `give`: runs again. Only when the target certainly has not been activated. */
  takeBack(id: string): Promise<void>;
  close(): void;
}

/** The end that takes the device. */
export interface MigrationTarget {
  describe(): Promise<EndpointDescription>;
  /** Makes it ready for an image: RESUMING. What came before is dropped. */
  begin(): Promise<void>;
  write(bytes: Uint8Array): Promise<void>;
  /**
   * The image is complete: checks it and loads it, and keeps the device stopped, whoever comes and goes, until
   * `activate` or `discard`.
   * @throws VfioError EINVAL: the image is refused; ECANCELED: a reset overtook it
   */
  prepare(id: string): Promise<void>;
  /** Runs. @throws VfioError ECANCELED: it was reset since `prepare`; the image is lost */
  activate(id: string): Promise<void>;
  /** Drops what was loaded, or is being loaded: the device is as after a reset, and can be used. */
  discard(id: string): Promise<void>;
  close(): void;
}
