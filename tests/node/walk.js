// What a user does with disks and snapshots, through one of the vendor's clients for Node.js, named as the first argument.
// Prints what came back as one line of JSON, which the test reads; a call that fails ends it with its error.
'use strict';

const {ENDPOINT, KEY, SECRET, REGION, ZONE} = process.env;

// Each answers call(action, parameters), with the answer's body as it is on the wire.
const clients = {
  'pop-core': () => {
    const {RPCClient} = require('@alicloud/pop-core');
    const client = new RPCClient({
      accessKeyId: KEY,
      accessKeySecret: SECRET,
      endpoint: `http://${ENDPOINT}`,
      apiVersion: '2014-05-26',
    });
    return (action, parameters) => client.request(action, parameters, {method: 'POST'});
  },
  ecs20140526: () => {
    const ecs = require('@alicloud/ecs20140526');
    const {$OpenApiUtil} = require('@alicloud/openapi-core');
    const client = new ecs.default(new $OpenApiUtil.Config({
      accessKeyId: KEY,
      accessKeySecret: SECRET,
      endpoint: ENDPOINT,
      protocol: 'http',
      regionId: REGION,
    }));
    return async (action, parameters) => {
      const method = action[0].toLowerCase() + action.slice(1);
      const request = new ecs[`${action}Request`](inLowerCase(parameters));
      const answer = await client[method](request);
      return answer.body.toMap();
    };
  },
};

function inLowerCase(parameters) {
  const lower = (name) => (name === 'RegionId' || name.length > 1 ? name[0].toLowerCase() + name.slice(1) : name);
  return Object.fromEntries(Object.entries(parameters).map(([name, value]) => [lower(name), value]));
}

async function until(look, wanted) {
  for (const deadline = Date.now() + 120000; Date.now() < deadline; await new Promise((r) => setTimeout(r, 50))) {
    const seen = await look();
    if (seen === wanted) return;
  }
  throw new Error(`it does not become ${wanted}`);
}

async function walk(call) {
  const place = {RegionId: REGION};
  const regions = await call('DescribeRegions', {});
  const {DiskId: disk} = await call('CreateDisk', {
    ...place, ZoneId: ZONE, DiskCategory: 'cloud_essd', Size: 20, DiskName: 'from-node', ClientToken: `t-${Date.now()}`,
  });
  const row = async () => (await call('DescribeDisks', {...place, DiskIds: JSON.stringify([disk])})).Disks.Disk[0];
  await until(async () => (await row()).Status, 'Available');
  const {InstanceIdSets} = await call('RunInstances', {...place, InstanceType: 'tidemark.external'});
  const instance = InstanceIdSets.InstanceIdSet[0];
  const state = async () =>
    (await call('DescribeInstances', {...place, InstanceIds: JSON.stringify([instance])})).Instances.Instance[0].Status;
  await until(state, 'Running');
  await call('AttachDisk', {InstanceId: instance, DiskId: disk});
  await until(async () => (await row()).Status, 'In_use');
  const {SnapshotId: snapshot} = await call('CreateSnapshot', {
    DiskId: disk, SnapshotName: 'a b'.replace(' ', '-'), Description: 'a*b~c+d/e=f&g 中文', RetentionDays: 7,
  });
  const taken = async () =>
    (await call('DescribeSnapshots', {...place, SnapshotIds: JSON.stringify([snapshot])})).Snapshots.Snapshot[0];
  await until(async () => (await taken()).Status, 'accomplished');
  const shown = await taken();
  let refusal;
  try {
    await call('DeleteSnapshot', {SnapshotId: 's-bp1nosuchsnapshot000'});
  } catch (error) {
    refusal = {code: error.code, message: error.message};
  }
  await call('DetachDisk', {InstanceId: instance, DiskId: disk});
  await until(async () => (await row()).Status, 'Available');
  await call('DeleteDisk', {DiskId: disk});
  await call('DeleteSnapshot', {SnapshotId: snapshot});
  return {
    regions: regions.Regions.Region.map((region) => region.RegionId), snapshot: shown, disk, refusal,
    left: (await call('DescribeSnapshots', {...place, DiskId: disk})).TotalCount,
  };
}

walk(clients[process.argv[2]]()).then(
  (result) => console.log(JSON.stringify(result)),
  (error) => { console.error(error); process.exitCode = 1; },
);
