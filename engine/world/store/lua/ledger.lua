-- One look, one list or one commit, in the words of `ledger.py`. A script runs alone: nothing comes between its steps.
--
-- KEYS[1]: what every key begins with. It carries the hash tag that keeps all of them on one node of a cluster.
-- ARGV[1]: read, scan or commit. ARGV[2]: microseconds since 1970, or '' for this server's clock. ARGV[3]: the question
-- (MessagePack). ARGV[4...]: values to be put.
-- Answers a list: what was found (MessagePack), and then values, byte for byte.
--
--   :f:<space> 0 <owner>  hash    name -> "version expires value"
--   :w:<space> 0 <owner>  sorted  names by version: the one written longest ago comes first
--   :a:<space>            sorted  members (owner 0 name) by version
--   :x:<space>            sorted  members by expiry
--   :l:<space>            sorted  members by their bytes
--   :m:<place>            string  the state of a meter
--   :idle                 sorted  places of meters by when they say no more than a new one
--   :seq                  string  the last version

local SWEEP = 8    -- expired things removed in each commit
local RESCUE = 256 -- the same when something is full and room is wanted now

local prefix = KEYS[1]
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * SECOND + time[2]
end
local question = cmsgpack.unpack(ARGV[3])
local evicted, expired, full = 0, 0, 0

local function digits(number)
  return string.format('%.0f', number)
end

-- --- facts

local function of_owner(table, space, owner)
  return prefix .. table .. space .. '\0' .. owner
end

local function member_of(owner, name)
  -- UTF-8 has no byte 255, so that what follows a zero tells whether the owner ends there; the order stays that of bytes.
  return owner:gsub('%z', '\0\255') .. '\0' .. name
end

local function split(member)
  local from = 1
  while true do
    local zero = member:find('\0', from, true)
    if member:byte(zero + 1) ~= 255 then
      return (member:sub(1, zero - 1):gsub('%z\255', '\0')), member:sub(zero + 1)
    end
    from = zero + 1
  end
end

-- The value, version and expiry of a living fact; nothing otherwise.
local function opened(raw)
  if not raw then return nil end
  local version, expires, start = raw:match('^(%d+) (%d+) ()')
  expires = tonumber(expires)
  if expires <= now then return nil end
  return raw:sub(start), tonumber(version), expires
end

local function entry(key)
  return opened(redis.call('HGET', of_owner(':f:', key[1], key[2]), key[3]))
end

local function erase(space, owner, name)
  local living = opened(redis.call('HGET', of_owner(':f:', space, owner), name)) ~= nil
  local member = member_of(owner, name)
  redis.call('HDEL', of_owner(':f:', space, owner), name)
  redis.call('ZREM', of_owner(':w:', space, owner), name)
  redis.call('ZREM', prefix .. ':a:' .. space, member)
  redis.call('ZREM', prefix .. ':x:' .. space, member)
  redis.call('ZREM', prefix .. ':l:' .. space, member)
  return living
end

local function sweep(space, most)
  local over = redis.call('ZRANGEBYSCORE', prefix .. ':x:' .. space, '-inf', digits(now), 'LIMIT', 0, most)
  for _, member in ipairs(over) do
    local owner, name = split(member)
    erase(space, owner, name)
    expired = expired + 1
  end
end

local function next_version()
  if redis.call('EXISTS', prefix .. ':seq') == 0 then
    -- After a loss of data versions go on above all that were given: fewer than one a microsecond were.
    local time = redis.call('TIME')
    redis.call('SET', prefix .. ':seq', digits(time[1] * SECOND + time[2]))
  end
  return redis.call('INCR', prefix .. ':seq')
end

local function bound(space, owner)
  local cap = question.caps[space]
  local facts, ages = of_owner(':f:', space, owner), prefix .. ':a:' .. space
  if redis.call('HLEN', facts) <= cap[1] and redis.call('ZCARD', ages) <= cap[2] then return end
  sweep(space, RESCUE)
  local most = RESCUE
  while most > 0 and redis.call('HLEN', facts) > cap[1] do
    erase(space, owner, redis.call('ZRANGE', of_owner(':w:', space, owner), 0, 0)[1])
    evicted, most = evicted + 1, most - 1
  end
  while most > 0 and redis.call('ZCARD', ages) > cap[2] do
    local oldest_owner, oldest = split(redis.call('ZRANGE', ages, 0, 0)[1])
    erase(space, oldest_owner, oldest)
    evicted, most = evicted + 1, most - 1
  end
end

local function write(key, value, expires)
  local space, owner, name = key[1], key[2], key[3]
  local version, member = next_version(), member_of(owner, name)
  redis.call('HSET', of_owner(':f:', space, owner), name, digits(version) .. ' ' .. digits(expires) .. ' ' .. value)
  redis.call('ZADD', of_owner(':w:', space, owner), digits(version), name)
  redis.call('ZADD', prefix .. ':a:' .. space, digits(version), member)
  redis.call('ZADD', prefix .. ':x:' .. space, digits(expires), member)
  redis.call('ZADD', prefix .. ':l:' .. space, 0, member)
  if not question.records[space] then bound(space, owner) end
  return version
end

local function clear(space, owner)
  local removed = 0
  for _, name in ipairs(redis.call('HKEYS', of_owner(':f:', space, owner))) do
    if erase(space, owner, name) then removed = removed + 1 end
  end
  return removed
end

local function places(space)
  local ages, most = prefix .. ':a:' .. space, question.caps[space][2]
  if redis.call('ZCARD', ages) >= most then sweep(space, RESCUE) end
  return most - redis.call('ZCARD', ages)
end

-- --- meters

local states, meters_touched, meters_born = {}, {}, 0

local function meter_of(wire)
  return { kind = wire[1], place = wire[2], limit = wire[3], width = wire[4] }
end

local function sweep_meters(most)
  local over = redis.call('ZRANGEBYSCORE', prefix .. ':idle', '-inf', digits(now), 'LIMIT', 0, most)
  for _, place in ipairs(over) do
    redis.call('DEL', prefix .. ':m:' .. place)
    redis.call('ZREM', prefix .. ':idle', place)
  end
end

local function stored_state(place)
  local packed = redis.call('GET', prefix .. ':m:' .. place)
  return packed and unpack_state(packed)
end

-- The state of a meter, a new one if need be; nothing if there is no place for another.
local function state(m)
  local known = states[m.place]
  if known == nil then
    known = stored_state(m.place)
    if not known then
      if redis.call('ZCARD', prefix .. ':idle') + meters_born >= question.meters then sweep_meters(RESCUE) end
      if redis.call('ZCARD', prefix .. ':idle') + meters_born >= question.meters then
        full = full + 1
        return nil
      end
      meters_born = meters_born + 1
      known = new_state(now + 1)
    end
    states[m.place] = known
  end
  meters_touched[m.place] = true
  return known
end

local function current(m)
  local s = state(m) or new_state(now)
  bring(s, m, now)
  return s
end

local function save_meters()
  for place in pairs(meters_touched) do
    local s = states[place]
    if s.idle > now then
      redis.call('SET', prefix .. ':m:' .. place, pack_state(s))
      redis.call('ZADD', prefix .. ':idle', digits(s.idle), place)
    else
      redis.call('DEL', prefix .. ':m:' .. place)
      redis.call('ZREM', prefix .. ':idle', place)
    end
  end
end

-- --- a commit: every change is { what, ... }, as `redis.py` writes it

local promised, born = {}, {}

local function refusal(change)
  local m, amount = meter_of(change[2]), change[3]
  local s = state(m)
  if not s then return { 'full', PATIENCE } end
  bring(s, m, now)
  if change[1] == 'reserve' and is_held(s, change[4]) then return nil end
  local wanted = (promised[m.place] or 0) + amount
  if wanted > room(s, m) then return { 'limit', wait(s, m, wanted, now), standing(s, m, now) } end
  promised[m.place] = wanted
  return nil
end

local function unwritable(change)
  local key = change[2]
  if change[3] ~= '' then return { change[3], -1 } end
  if not question.records[key[1]] or entry(key) then return nil end
  local new = born[key[1]] or { count = 0, members = {} }
  born[key[1]] = new
  local member = member_of(key[2], key[3])
  if not new.members[member] then
    new.members[member] = true
    new.count = new.count + 1
  end
  if new.count > places(key[1]) then return { 'full', -1 } end
  return nil
end

local EXPECTING = { put = 4, delete = 3, expect = 3 }

local function judge(changes)
  local stale, refused = {}, nil
  for index, change in ipairs(changes) do
    local what, objection = change[1], nil
    local expected = EXPECTING[what] and change[EXPECTING[what]]
    local _, version
    if expected and expected >= 0 then _, version = entry(change[2]) end
    if expected and expected >= 0 and expected ~= (version or 0) then
      stale[#stale + 1] = index
    elseif not refused then
      if what == 'take' or what == 'reserve' then
        objection = refusal(change)
      elseif what == 'put' or what == 'add' then
        objection = unwritable(change)
      end
      if objection then refused = { index - 1, objection } end
    end
  end
  return stale, refused
end

local enact = {
  put = function(change) return write(change[2], ARGV[change[6]], now + change[5]) end,
  delete = function(change) return erase(unpack(change[2])) and 1 or 0 end,
  expect = function(change) return change[3] end,
  clear = function(change) return clear(unpack(change[2])) end,
  add = function(change)
    local value, _, expires = entry(change[2])
    local total = (value and value:match('^%s*[+-]?%d+%s*$') and tonumber(value) or 0) + change[4]
    if not expires or change[6] then expires = now + change[5] end
    write(change[2], digits(total), expires)
    return total
  end,
  take = function(change)
    local m = meter_of(change[2])
    local s = state(m)
    charge(s, m, change[3], now)
    return standing(s, m, now)
  end,
  reserve = function(change)
    local m = meter_of(change[2])
    local s = state(m)
    hold(s, m, change[4], change[3], change[5], change[6], now)
    return standing(s, m, now)
  end,
  renew = function(change)
    local m = meter_of(change[2])
    return renew(current(m), m, change[3], change[4], now)
  end,
  settle = function(change)
    local m = meter_of(change[2])
    local s = current(m)
    local known, overrun = settle(s, m, change[3], change[4], now)
    return { known, overrun, standing(s, m, now) }
  end,
  release = function(change)
    local m = meter_of(change[2])
    return release(current(m), m, change[3])
  end,
}

local function commit()
  local stale, refused = judge(question.changes)
  if #stale > 0 or refused then
    save_meters() -- nothing was taken, but a clock that was set back was noticed, and must be so only once
  end
  if #stale > 0 then
    local versions, values = {}, {}
    for at, index in ipairs(stale) do
      local value, version = entry(question.changes[index][2])
      stale[at] = index - 1
      versions[at] = version or 0
      values[at] = value or ''
    end
    return { 'conflict', stale, versions }, values
  end
  if refused then return { 'refused', refused[1], refused[2] }, {} end
  local results = {}
  for index, change in ipairs(question.changes) do results[index] = enact[change[1]](change) end
  save_meters()
  for space in pairs(question.caps) do sweep(space, SWEEP) end
  sweep_meters(SWEEP)
  return { 'committed', results }, {}
end

local function read()
  local found, owned, standings, values = {}, {}, {}, {}
  for index, key in ipairs(question.keys) do
    local value, version = entry(key)
    if value then
      found[#found + 1] = { index - 1, version }
      values[#values + 1] = value
    end
  end
  for index, owner in ipairs(question.owners) do
    local all = redis.call('HGETALL', of_owner(':f:', owner[1], owner[2]))
    for at = 1, #all, 2 do
      local value, version = opened(all[at + 1])
      if value then
        owned[#owned + 1] = { index - 1, all[at], version }
        values[#values + 1] = value
      end
    end
  end
  for index, wire in ipairs(question.meters) do
    local m = meter_of(wire)
    local s = stored_state(m.place) or new_state(0)
    bring(s, m, now)
    standings[index] = standing(s, m, now)
  end
  return { found, owned, standings }, values
end

local function scan()
  local space, found, values = question.space, {}, {}
  local low, high = '-', '+'
  if question.owner then
    low = '[' .. member_of(question.owner, '')
    high = '[' .. member_of(question.owner, '') .. '\255'
  end
  if question.after then low = '(' .. member_of(question.after[1], question.after[2]) end
  while #found < question.limit do
    local members = redis.call('ZRANGEBYLEX', prefix .. ':l:' .. space, low, high, 'LIMIT', 0, RESCUE)
    for _, member in ipairs(members) do
      local owner, name = split(member)
      local value, version = entry({ space, owner, name })
      if value and #found < question.limit then
        found[#found + 1] = { owner, name, version }
        values[#values + 1] = value
      end
      low = '(' .. member
    end
    if #members < RESCUE then break end
  end
  return found, values
end

local found, values
if ARGV[1] == 'read' then
  found, values = read()
elseif ARGV[1] == 'scan' then
  found, values = scan()
else
  found, values = commit()
end
local answer = { cmsgpack.pack({ found, { evicted, expired, full } }) }
for index, value in ipairs(values) do answer[index + 1] = value end
return answer
